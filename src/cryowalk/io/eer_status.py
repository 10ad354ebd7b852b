"""What can go wrong while a frame of electron events is decoded: numbers that compiled code returns."""

OVERRUN = -1  # a run of empty pixels leads beyond the last one
CUT_OFF = -2  # the bytes end before the last pixel
