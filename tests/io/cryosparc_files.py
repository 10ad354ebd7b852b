"""Makers of small .cs files, with every group of fields that cryoSPARC's jobs write."""

import numpy as np

ALIGNED = [
    ("split", "<u4"),
    ("shift", "<f4", (2,)),
    ("pose", "<f4", (3,)),
    ("psize_A", "<f4"),
    ("class_posterior", "<f4"),
    ("class", "<u4"),
]


def records(count=6, *, seed=3, classes=0, stacked=False, flat=False, picks=True):
    """Particles with optics of two exposure groups, defocus, aberrations, places, and alignments of the kind asked for."""
    source = np.random.default_rng(seed)
    fields = [
        ("uid", "<u8"), ("blob/path", "S40"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)), ("blob/psize_A", "<f4"), ("blob/sign", "<f4"),
        ("ctf/type", "S9"), ("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"),
        ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4"), ("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4"), ("ctf/scale", "<f4"),
        ("ctf/tilt_A", "<f4", (2,)), ("ctf/anisomag", "<f4", (4,)), ("ctf/bfactor", "<f4"),
    ]  # fmt: skip
    if picks:
        fields += [
            ("location/micrograph_path", "S30"), ("location/micrograph_shape", "<u4", (2,)), ("location/center_x_frac", "<f4"),
            ("location/center_y_frac", "<f4"), ("location/micrograph_psize_A", "<f4"), ("pick_stats/ncc_score", "<f4"),
        ]  # fmt: skip
    fields += [
        ("filament/filament_uid", "<u8"),
        ("components_mode_0/component", "<u4"),
        ("components_mode_0/value", "<f4"),
        ("components_mode_1/value", "<f4"),
    ]
    if classes and stacked:
        fields += [
            (f"alignments3D_multi/{each[0]}", each[1], (classes, *(each[2] if len(each) > 2 else ())))
            for each in ALIGNED
            if each[0] != "class"
        ]
    elif classes:
        fields += [(f"alignments_class_{k}/{each[0]}", *each[1:]) for k in range(classes) for each in ALIGNED]
    elif flat:
        fields += [(f"alignments2D/{name}", kind, *(shape if name != "pose" else ())) for name, kind, *shape in ALIGNED]
    else:
        fields += [(f"alignments3D/{each[0]}", *each[1:]) for each in ALIGNED]
    fields += [("odd/big", ">f8"), ("odd/text", "<U5"), ("odd/flag", "?"), ("odd/matrix", "<i2", (2, 2))]
    rows = np.zeros(count, dtype=fields)
    for name in rows.dtype.names:
        kind = rows.dtype[name].base.kind
        if kind == "f":
            rows[name] = source.normal(size=rows[name].shape)
        elif kind in "iu":
            rows[name] = source.integers(0, 2, size=rows[name].shape)
    rows["uid"] = source.permutation(count).astype(np.uint64) * np.uint64(2**55) + np.uint64(977)
    rows["blob/path"] = [b">J1/imported/stack_%d.mrc" % (i // 4) for i in range(count)]
    rows["blob/idx"] = np.arange(count)[::-1] % 4
    rows["blob/shape"], rows["blob/psize_A"], rows["blob/sign"] = 64, 1.37, np.where(np.arange(count) % 2, -1, 1)
    rows["ctf/type"], rows["ctf/exp_group_id"] = b"patch", 22 + np.arange(count) % 2
    rows["ctf/accel_kv"], rows["ctf/cs_mm"], rows["ctf/amp_contrast"] = 200, 1.4, 0.07
    rows["ctf/tilt_A"] = np.array([[100.0, -250.0], [0.0, 50.0]])[np.arange(count) % 2]
    rows["ctf/anisomag"] = np.array([[0.003, -0.001, 0.002, -0.004], [0.0] * 4])[np.arange(count) % 2]
    rows["ctf/df1_A"], rows["ctf/df2_A"] = 12000 + 100 * np.arange(count), 11800.25
    if picks:
        rows["location/micrograph_path"] = [b"J1/mic_%d.mrc" % (i // 3) for i in range(count)]
        rows["location/micrograph_shape"], rows["location/micrograph_psize_A"] = (400, 300), 0.885
        rows["location/center_x_frac"], rows["location/center_y_frac"] = source.uniform(size=(2, count))
    rows["filament/filament_uid"] = np.array([2**60, 2**61], np.uint64)[np.arange(count) // 2 % 2]
    rows["odd/text"] = [f"é{i}" for i in range(count)]
    rows["odd/flag"] = np.arange(count) % 3 == 0
    return rows


def saved(path, rows):
    with path.open("wb") as stream:
        np.save(stream, rows)
    return path
