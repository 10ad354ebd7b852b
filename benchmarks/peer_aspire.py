"""ASPIRE's CTF of the micrographs in a folder, run by a Python that has it: `python peer_aspire.py FOLDER PIXEL_SIZE BOX`.

Seconds are those of `aspire.ctf.estimate_ctf` alone, without imports.
"""

import contextlib
import json
import logging
import sys
import tempfile
import time

import aspire
from aspire.ctf import estimate_ctf


def main() -> None:
    """Print one line of JSON."""
    folder, pixel_size, box = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        found = estimate_ctf(
            data_folder=folder,
            pixel_size=pixel_size,
            cs=2.7,
            amplitude_contrast=0.07,
            voltage=300,
            psd_size=box,
            output_dir=output,
        )
        seconds = time.perf_counter() - start
    facts = {name: [float(one["defocus_u"]), float(one["defocus_v"]), float(one["defocus_ang"])] for name, one in found.items()}
    print(json.dumps({"seconds": seconds / len(found), "found": facts, "version": aspire.__version__}))


if __name__ == "__main__":
    main()
