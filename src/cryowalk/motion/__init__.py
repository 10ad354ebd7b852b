"""Movies to micrographs: the alignment of frames and dose weighting live here."""
