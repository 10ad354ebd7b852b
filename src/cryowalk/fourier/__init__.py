"""Fourier space: transforms, grids, shells, filters, the half disk, central slices and their exact reference."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "FourierVolume": "slices",
        "HalfDisk": "disk",
        "half_disk": "disk",
        "back_project": "slices",
        "back_project_exactly": "nufft",
        "shift_images": "filters",
        "slices_exactly": "nufft",
        "SliceAccumulator": "accumulator",
        "apply_shell_weights": "filters",
        "b_factor": "filters",
        "coordinates": "grids",
        "extract_slices": "slices",
        "frequency_azimuth": "grids",
        "frequency_grid": "grids",
        "frequency_radius": "grids",
        "fsc_from_snr": "shells",
        "high_pass": "filters",
        "low_pass": "filters",
        "prepare_volume": "slices",
        "project_exactly": "nufft",
        "resample": "transform",
        "resize": "transform",
        "shell_average": "shells",
        "shell_correlation": "shells",
        "shell_frequency": "shells",
        "shell_index": "grids",
        "shift_phases": "filters",
        "snr_from_fsc": "shells",
        "to_fourier": "transform",
        "to_real": "transform",
    },
)
