# %% [markdown]
# # U13 Files, metadata and repositories
#
# **Question.** Between the microscope and the map lie hundreds of files of a dozen formats, written by programs that count differently, and often fetched from somewhere else. How do you know what is in a file, and that it is whole?
#
# **What you need.** U11 or U12 (where such files come from). Nothing is fetched from the network: the archive of this unit runs inside the notebook.
#
# **What you will be able to do.**
#
# - read the header of an MRC file by eye, and with twenty lines of your own;
# - move particles between STAR, cryoSPARC and HDF5 without losing a column or miscounting by one;
# - find out which flip a foreign file needs;
# - keep a folder in step with an archive, and never take half a file for a whole one.
#
# About 60 minutes. *Blur*: header inspector, movie browser, table filter, archives. *Sharpen*: a reader, a table writer, indices, a sync.

# %%
import hashlib
import itertools
import json
import os
import shlex
import shutil
import struct
import tempfile
from http.client import HTTPConnection
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import torch

import cryowalk as cw
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u13 import mrc_header, stack
from cryowalk.course.fake_archive import FakeArchive, broken_off
from cryowalk.geometry.asymmetric_phantom import phantom_density
from cryowalk.io import read_star, write_array
from cryowalk.io.archives import open_archive
from cryowalk.io.hdf5 import write_hdf5_particles
from cryowalk.microscope import simulate_particles
from cryowalk.workflow.job import AlreadyDone, open_job

torch.set_num_threads(1)
scratch = tempfile.TemporaryDirectory()
here = Path(scratch.name)

# %% [markdown] tags=["blur"]
# <a id="H34"></a>
# ## Image formats: what an MRC header means
#
# An MRC file is 1,024 bytes of header, perhaps an extended header, and then nothing but numbers, row after row. Everything that a program knows about the numbers it knows from those 1,024 bytes: how many there are, of what type, how far apart in the specimen. Here are the first 224 bytes of a file of your own, sixteen to a line, in groups of four.

# %% tags=["blur"]
dump = bytes.fromhex(parameters("U13.1")["header"])
for offset in range(0, 224, 16):
    print(f"{offset:4d}  {dump[offset : offset + 16].hex(' ', -4)}")

# %% [markdown] tags=["blur"]
# *Four bytes make a number, and on nearly every machine of today the lowest comes first: `c0000000` is 0xc0 = 192. Lengths are floating-point numbers in the same four bytes. The inspector names the fields; its header is another one, of a map of 64³ voxels.*

# %% tags=["blur"]
FIELDS = {
    "columns, rows, sections": (0, 12, "3i", "how many numbers there are"),
    "mode": (12, 4, "i", "0: 8 bits, 1: 16 bits, 2: 32-bit reals, 6: 16 bits without sign, 12: 16-bit reals"),
    "start": (16, 12, "3i", "where a map that was cut out began"),
    "intervals": (28, 12, "3i", "into how many steps the cell is cut"),
    "cell": (40, 12, "3f", "lengths of the cell, Å: voxel size = cell / intervals"),
    "angles": (52, 12, "3f", "of the cell, degrees; 90 here"),
    "axes": (64, 12, "3i", "which of x, y, z are columns, rows, sections"),
    "minimum, maximum, mean": (76, 12, "3f", "what the writer says they are; many do not"),
    "space group": (88, 4, "i", "0: images, 1: a volume, 401: many volumes"),
    "extended header": (92, 4, "i", "bytes between this header and the numbers"),
    "MAP": (208, 4, "4s", "the word that tells an MRC file from any other"),
    "machine stamp": (212, 4, "4B", "68 (0x44): lowest byte first; 17 (0x11): highest first"),
    "labels": (220, 4, "i", "how many lines of 80 letters follow"),
}
shown = mrc_header((64, 64, 64), 2, 1.35)


def draw_header(field):
    """The bytes of a header with one field marked, and what it says."""
    start, length, kind, words = FIELDS[field]
    value = struct.unpack_from("<" + kind, shown, start)
    figure, axes = plt.subplots(figsize=(10, 4.6))
    for row, offset in enumerate([*range(0, 112, 16), 192, 208]):
        axes.text(-1.2, row, f"{offset}", family="monospace", ha="right", va="center", color="0.5")
        for column in range(16):
            place = offset + column
            marked = start <= place < start + length
            box = {"facecolor": "#ffd166", "edgecolor": "none", "pad": 2.2} if marked else None
            axes.text(
                column + 0.45 * (column // 4), row, f"{shown[place]:02x}", family="monospace", ha="center", va="center", bbox=box
            )
    axes.set(xlim=(-2.5, 18), ylim=(9, -1.2))
    axes.axis("off")
    said = value[0] if len(value) == 1 else value
    axes.set_title(f"{field}, byte {start}: {said}\n{words}", loc="left", fontsize=11)
    return figure


inspector = exploration(draw_header, field=Choice(tuple(FIELDS), label="field"))
inspector

# %% [markdown] tags=["blur"]
# *Figure U13.a. A header by its bytes. There is no field for the voxel size: it is the cell divided by the intervals. Programs that write a cell of zero (and some do) leave you with a map of unknown size, and ChimeraX shows it at 1 Å.*
#
# ### Exercise U13.1 · Read your own header
#
# From *your* dump above: the box (columns), the mode, and the voxel size along x in Å. Three numbers, in this order. By eye as far as you get; `np.frombuffer` for the rest.

# %% tags=["blur"]
# BEGIN SOLUTION
box, mode = np.frombuffer(dump, "<i4", 1)[0], np.frombuffer(dump, "<i4", 1, offset=12)[0]
voxel = np.frombuffer(dump, "<f4", 1, offset=40)[0] / np.frombuffer(dump, "<i4", 1, offset=28)[0]
answer = (box, mode, voxel)
# END SOLUTION
check("U13.1", answer)

# %% [markdown] tags=["blur"]
# ## How large is a movie?
#
# ### Exercise U13.6 · Predict
#
# A camera of 4096 × 4096 pixels, 40 frames, 16 bits a pixel, not compressed. How large is the file, in GB (10⁹ bytes)? Guess from the three numbers before you multiply.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_size = 1.34
# END SOLUTION
predict("U13.6", my_size)

# %% tags=["blur"]
my_size = prediction("U13.6")
size = 40 * 4096 * 4096 * 2
print(f"{size:,} bytes = {size / 1e9:.2f} GB = {size / 2**30:.2f} GiB; a thousand of them: {size / 1e9:.1f} TB")
check("U13.6", my_size)

# %% [markdown] tags=["blur"]
# So nobody opens a movie whole. The numbers lie at known places, and a *memory map* reads only the frame that is looked at. Here is a small movie, of 24 frames of 96 × 96 pixels, counted electrons in 8 bits; the browser reads one frame at a time.

# %% tags=["blur"]
source = np.random.default_rng(13)
line = np.arange(96) - 48
frames = []
for number in range(24):
    drift = 6 * np.exp(-number / 5)
    spots = sum(
        np.exp(-((line[:, None] - y - drift) ** 2 + (line - x + drift) ** 2) / 40) for x, y in ((-20, 10), (18, -16), (8, 22))
    )
    frames.append(source.poisson(0.6 * (1 - 0.75 * np.minimum(spots, 1))))
movie_path = here / "movie.mrc"
movie_path.write_bytes(mrc_header((96, 96, 24), 0, 1.1) + np.array(frames, "i1").tobytes())
movie = np.memmap(movie_path, dtype="i1", mode="r", offset=1024, shape=(24, 96, 96))
movie_bytes = movie_path.stat().st_size


def draw_frame(frame, summed):
    """One frame, the sum of a few about it, and where in the file its bytes lie."""
    first, last = max(0, int(frame) - int(summed) // 2), min(24, int(frame) + (int(summed) + 1) // 2)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    axes[0].imshow(movie[int(frame)], cmap="gray", vmin=0, vmax=3)
    axes[1].imshow(movie[first:last].sum(axis=0), cmap="gray")
    for each, title in zip(axes, (f"frame {int(frame) + 1}", f"sum of {last - first}"), strict=False):
        each.set(xticks=[], yticks=[], title=title)
    axes[2].barh([0], [movie_bytes], color="0.85")
    axes[2].barh([0], [9216 * (last - first)], left=1024 + 9216 * first, color="C1")
    axes[2].set(yticks=[], xlabel="bytes of the file", title="what was read")
    return figure


browser = exploration(draw_frame, frame=Slider(0, 23, 12, label="frame"), summed=Slider(1, 24, 8, label="frames summed"))
browser

# %% [markdown] tags=["blur"]
# *Figure U13.b. A single frame shows hardly anything; a few of them do. The bar shows the part of the file that was read for it.*

# %% [markdown] tags=["sharpen"]
# ### Exercise U13.2 · A reader without a library
#
# Write `read_mrc(path)`: the array, its axes in the order (sections, rows, columns), and the voxel size along x in Å. Modes 0 (`i1`), 1 (`i2`), 2 (`f4`), 6 (`u2`) and 12 (`f2`); both byte orders; with or without an extended header. The cell may be that of a larger map.


# %% tags=["sharpen"]
def read_mrc(path):
    """The array [z, y, x] and the voxel size (Å)."""
    # BEGIN SOLUTION
    content = Path(path).read_bytes()
    order = ">" if content[212] == 0x11 else "<"
    *size, mode = np.frombuffer(content, order + "i4", 4)
    intervals = np.frombuffer(content, order + "i4", 1, offset=28)[0]
    cell = np.frombuffer(content, order + "f4", 1, offset=40)[0]
    extended = np.frombuffer(content, order + "i4", 1, offset=92)[0]
    kind = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}[int(mode)]
    values = np.frombuffer(content, order + kind, int(np.prod(size)), offset=1024 + int(extended))
    return values.reshape(size[::-1]).astype(kind), float(cell) / int(intervals)
    # END SOLUTION


check("U13.2", read_mrc)

# %% [markdown] tags=["sharpen"]
# The library's reader does the same, and looks at what can be wrong: a file shorter than its header says, a mode that does not exist, a web page under a map's name. Its writer keeps every bit:

# %% tags=["sharpen"]
exact = np.random.default_rng(2).normal(size=(5, 6, 7)).astype("f4")
write_array(exact, here / "exact.mrc", voxel_size=1.35)
again, size_again = read_mrc(here / "exact.mrc")
print("the same bits:", np.array_equal(again, exact), "| voxel size", round(size_again, 6), "Å")
assert np.array_equal(again, exact)
assert abs(size_again - 1.35) < 1e-6
(here / "short.mrc").write_bytes((here / "exact.mrc").read_bytes()[:-300])
try:
    cw.read(here / "short.mrc")
except cw.core.errors.InputError as error:
    print(str(error).replace(str(here), "…"))

# %% [markdown] tags=["blur"]
# ## Tables: RELION and cryoSPARC
#
# Images are half of it. The other half is what is known of each: where it was, how far out of focus, how it lies. RELION writes text (STAR), cryoSPARC a NumPy table (`.cs`). Here are the same 48 particles in both.

# %% tags=["blur"]
optics = cw.Optics(pixel_size=3.0, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
hinge = cw.microscope.specimen.hinge()
particles, truth = simulate_particles(hinge, optics, count=48, box=48, snr=0.3, generator=cw.generator(13))
cw.write(particles, here / "particles.star")
cw.write(particles, here / "particles.cs")
star = read_star(here / "particles.star")
columns = {block.name: block.columns for block in star.blocks}["particles"]
records = np.load(here / "particles.cs", allow_pickle=False)
pairs = {
    "which image": ("rlnImageName", "blob/idx"),
    "defocus (Å)": ("rlnDefocusU", "ctf/df1_A"),
    "astigmatism angle": ("rlnDefocusAngle", "ctf/df_angle_rad"),
    "orientation": ("rlnAngleRot", "alignments3D/pose"),
    "shift": ("rlnOriginXAngst", "alignments3D/shift"),
    "half": ("rlnRandomSubset", "alignments3D/split"),
}
print(f"{'':20s}{'RELION':18s}{'third particle':>20s}    {'cryoSPARC':22s}third particle")
for words, (label, name) in pairs.items():
    print(f"{words:20s}{label:18s}{columns[label][2]:>20s}    {name:22s}{np.round(records[name][2], 4)}")

# %% [markdown] tags=["blur"]
# *Degrees and radians, three Euler angles and a rotation vector, ångströms and pixels, halves and images counted from 1 and from 0. Each pair says the same. The rules are few, and written once (in this library: `core/conventions.py` and the page of conventions); what hurts is to guess them.*
#
# A table can be looked at like a picture: choose rows, and see what is left.

# %% tags=["blur"]
defocus = np.array(columns["rlnDefocusU"], float)
tilt = np.array(columns["rlnAngleTilt"], float)


def draw_table(least, most, half):
    """Which particles a filter keeps."""
    kept = (defocus >= 1e4 * least) & (defocus <= 1e4 * most)
    if half != "both":
        kept &= np.array(columns["rlnRandomSubset"]) == half
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    left.hist(defocus / 1e4, bins=12, range=(0.5, 2.3), color="0.85")
    left.hist(defocus[kept] / 1e4, bins=12, range=(0.5, 2.3), color="C0")
    left.set(xlabel="underfocus (µm)", ylabel="particles", title=f"{kept.sum()} of {len(kept)} rows")
    right.scatter(defocus / 1e4, tilt, color="0.85")
    right.scatter(defocus[kept] / 1e4, tilt[kept], color="C0")
    right.set(xlabel="underfocus (µm)", ylabel="rlnAngleTilt (°)")
    return figure


table_filter = exploration(
    draw_table,
    least=Slider(0.5, 2.3, 1.0, step=0.1, label="at least (µm)"),
    most=Slider(0.5, 2.3, 1.8, step=0.1, label="at most (µm)"),
    half=Choice(("both", "1", "2"), label="half"),
)
table_filter

# %% [markdown] tags=["blur"]
# *Figure U13.c. A filter on a table, as `cryowalk select` does it on files. What it must not do is to forget a column that it does not know: another program may need it.*

# %% [markdown] tags=["sharpen"]
# ### Exercise U13.3 · Off by one
#
# This function makes names for RELION, such as `000003@J12/extract/batch_000.mrcs`, from cryoSPARC's records. The maps that come of it are poor, and nobody knows why. Mend it. (There are two mistakes of another kind, which RELION does at least complain about.)


# %% tags=["sharpen"]
# BEGIN SOLUTION
def image_names(records):
    """Names of the images for RELION."""
    names = []
    for path, index in zip(records["blob/path"], records["blob/idx"], strict=True):
        text = path.decode().removeprefix(">").removesuffix(".mrc").removesuffix(".mrcs")
        names.append(f"{int(index) + 1:06d}@{text}.mrcs")
    return names


# END SOLUTION
def broken_names(records):
    """What was found in the script: start from it."""
    return [f"{index:06d}@{path.decode()}" for path, index in zip(records["blob/path"], records["blob/idx"], strict=True)]


print(broken_names(stack(0).records)[:3])
check("U13.3", image_names)

# %% [markdown] tags=["solution", "sharpen"]
# cryoSPARC counts from 0, RELION from 1. Who forgets it gives every particle the pose and the defocus of its neighbour, and only the very first one has a name that does not exist. That is why one looks at the *first and the last*: an error of one shows at the ends. The sign `>` marks an exported path, and a stack that ends in `.mrc` is one volume to RELION.

# %% [markdown] tags=["sharpen"]
# ### Exercise U13.4 · Tables to text and back
#
# Write `to_text(blocks)` and `from_text(text)` for STAR files of RELION 3.1. `blocks` is a dictionary of tables (`optics`, `particles`), a table a dictionary of columns, a column a list of texts. The form:
#
# ```
# data_optics
#
# loop_
# _rlnOpticsGroup #1
# _rlnOpticsGroupName #2
# 1 "shift 0"
# 2 "shift 1"
#
# ```
# A text that is empty or holds a blank stands in double quotes. Everything must come back as it was: `007`, `1e3`, the empty text, the order of the columns. Another program reads your text, and you read another program's.


# %% tags=["sharpen"]
def to_text(blocks):
    """The text of a STAR file."""
    # BEGIN SOLUTION
    lines = ["# version 30001", ""]
    for name, block in blocks.items():
        lines += [f"data_{name}", "", "loop_", *(f"_{column} #{number}" for number, column in enumerate(block, 1))]
        for row in zip(*block.values(), strict=True):
            lines.append(" ".join(f'"{value}"' if not value or " " in value else value for value in row))
        lines += ["", ""]
    return "\n".join(lines)
    # END SOLUTION


def from_text(text):
    """The tables of a STAR file."""
    # BEGIN SOLUTION
    blocks = {}
    for row in text.splitlines():
        words = shlex.split(row, comments=False)
        if not words or words[0].startswith("#") or words == ["loop_"]:
            continue
        if words[0].startswith("data_"):
            block = blocks[words[0].removeprefix("data_")] = {}
        elif words[0].startswith("_"):
            block[words[0][1:]] = []
        else:
            for column, value in zip(block.values(), words, strict=True):
                column.append(value)
    return blocks
    # END SOLUTION


check("U13.4", (to_text, from_text))

# %% [markdown] tags=["sharpen"]
# ### The sub-unit of stacks: HDF5
#
# A STAR file and its stacks are many files that must travel together, and a path that breaks when they move. HDF5 puts images and columns into one file: a tree of arrays with attributes, in chunks that can be compressed and read alone. The library writes one dataset for each column and `images` beside them, and back without a loss.

# %% tags=["sharpen"]
write_hdf5_particles(particles, here / "particles.h5")
with h5py.File(here / "particles.h5") as file:
    file.visititems(lambda name, item: print(f"{name:34s}", item.shape if hasattr(item, "shape") else "group"))
    print("chunks of the images:", file["images"].chunks, "| pixel size", file["images"].attrs["pixel_size"], "Å")
back = cw.read(here / "particles.h5")
assert torch.equal(back.images.read(range(48)), particles.images.read(range(48)))
assert torch.allclose(back.defocus.major, particles.defocus.major, rtol=1e-9)
stars_and_stack = sum((here / name).stat().st_size for name in ("particles.star", "particles.mrcs"))
print(
    f"STAR and stack {stars_and_stack:,} bytes, HDF5 {(here / 'particles.h5').stat().st_size:,} bytes; the same images, bit by bit"
)

# %% [markdown] tags=["sharpen"]
# *A warning that HDF5 shares with pickles and Python's own formats: a file may point to other files, or name code to be loaded. The library refuses both. Never unpickle what you did not write.*
#
# ### The sub-unit of conventions: which flip?
#
# A map came back from another program, and something is wrong with it. There are 48 ways to order and flip three axes; 24 of them also change the hand. A symmetric object cannot tell them apart. This phantom can: eight blobs, none of which has a partner.

# %% tags=["sharpen"]
phantom = phantom_density((25, 25, 25), voxel_size=6.0).numpy()
orders = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


def reordered(volume, axes, signs):
    """The volume with its axes exchanged and some of them flipped."""
    return volume.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]


foreign = reordered(phantom, (0, 1, 2), (1, -1, 1))
scores = {order: np.corrcoef(reordered(foreign, *order).ravel(), phantom.ravel())[0, 1] for order in orders}
best = max(scores, key=scores.get)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.2))
for each, volume, title in zip(
    axes, (phantom, foreign, reordered(foreign, *best)), ("the phantom", "what came back", "put right"), strict=False
):
    each.imshow(volume.sum(axis=0), cmap="magma", origin="lower")
    each.set(xticks=[], yticks=[], title=title)
axes[3].plot(sorted(scores.values(), reverse=True), "o", ms=3)
axes[3].set(xlabel="order and flips, the best first", title="correlation of 48 tries")
plt.show()
print("axes", best[0], "flips", best[1], f"correlation {scores[best]:.3f}, the next best {sorted(scores.values())[-2]:.3f}")
assert best == ((0, 1, 2), (1, -1, 1))

# %% [markdown] tags=["sharpen"]
# *Figure U13.d. One flip of 48 puts it right, and no other comes near.* On the command line: `cryowalk conventions kit --o Kit` writes this phantom with images, poses, a micrograph and picks; send them through the other program; `cryowalk conventions check FILE` then names the flip, transpose, inverse or shift by one pixel that a map, a table or a list of picks needs.

# %% [markdown] tags=["blur"]
# ## Looking at a map: numbers first, then ChimeraX
#
# Before a map is shown, a few numbers: mean near 0, a maximum many deviations above it, no NaN. A contour level is best told in standard deviations, and a script makes the view reproducible.

# %% tags=["blur"]
whole = cw.microscope.specimen.potential(hinge, box=48, voxel_size=3.0)
cw.write(whole, here / "map.mrc")
values = cw.read(here / "map.mrc").voxels
half_cut = values.clone()
half_cut[:, :, :24] = 0
cw.write(cw.Volume(voxels=values - half_cut, voxel_size=3.0), here / "difference.mrc")
for name in ("map.mrc", "difference.mrc"):
    data = cw.read(here / name).voxels
    print(
        f"{name:16s} mean {data.mean():7.3f}  deviation {data.std():6.3f}  least {data.min():6.2f}  most {data.max():6.2f}  finite {bool(data.isfinite().all())}"
    )
script = "\n".join(
    [
        "set bgColor white",
        *(
            f"open {name}\nvolume #{number} level {3 * float(cw.read(here / name).voxels.std()):.4f} color {colour} style surface"
            for number, (name, colour) in enumerate((("map.mrc", "#9ecae1"), ("difference.mrc", "#fdae6b")), 1)
        ),
        "lighting soft\nview\nsave view.png width 1200",
    ]
)
(here / "view.cxc").write_text(script + "\n")
print(script)

# %% [markdown] tags=["blur"]
# *Map algebra (here: a map minus a half of itself) is arithmetic on arrays that lie on the same grid; the voxel size and origin of the headers say whether they do. `chimerax view.cxc` opens the two maps at three deviations in two colours.*

# %% [markdown] tags=["blur"]
# <a id="H33"></a>
# ## Pipelines: what depends on what
#
# Files are made from files. A pipeline that remembers *from which, with which settings* can say what must be done again when something changes, and what need not. Three small steps, each a job in its own folder with a `job.json`:

# %% tags=["blur"]
jobs = here / "project"
jobs.mkdir()
for name in ("first", "second"):
    write_array(
        np.random.default_rng(len(name)).normal(size=(16, 16)).astype("f4"), jobs / f"{name}.mrc", voxel_size=2.0, kind="images"
    )
STEPS = {
    "Denoise1": (["first.mrc"], lambda a: (a + np.roll(a, 1, 0) + np.roll(a, 1, 1)) / 3),
    "Denoise2": (["second.mrc"], lambda a: (a + np.roll(a, 1, 0) + np.roll(a, 1, 1)) / 3),
    "Average": (["Denoise1/out.mrc", "Denoise2/out.mrc"], lambda a, b: (a + b) / 2),
}


def run_steps():
    """What each step did: worked, or nothing because its result is that of the same inputs and settings."""
    told = {}
    for name, (inputs, work) in STEPS.items():
        paths = {f"input{number}": jobs / each for number, each in enumerate(inputs)}
        for _ in range(2):
            try:
                with open_job(jobs / name, command=name.lower(), settings={"window": 1}, inputs=paths) as job:
                    arrays = [cw.io.read_array(path)[0] for path in paths.values()]
                    write_array(work(*arrays).astype("f4"), job.path("out.mrc"), voxel_size=2.0, kind="images")
                told[name] = "worked"
                break
            except AlreadyDone:
                told[name] = "nothing to do"
                break
            except cw.core.errors.StateConflict:  # made from other inputs: it is made anew
                shutil.rmtree(jobs / name)
    return told


def sums():
    """The SHA-256 of every result."""
    return {name: hashlib.sha256((jobs / name / "out.mrc").read_bytes()).hexdigest()[:12] for name in STEPS}


print("first run: ", run_steps())
before = sums()
print("second run:", run_steps(), "| the same results:", sums() == before)
assert sums() == before
write_array(np.zeros((16, 16), "f4") + 1, jobs / "second.mrc", voxel_size=2.0, kind="images")
third = run_steps()
print("after a change of second.mrc:", third)
assert third == {"Denoise1": "nothing to do", "Denoise2": "worked", "Average": "worked"}

# %% tags=["blur"]
facts = {name: json.loads((jobs / name / "job.json").read_text()) for name in STEPS}
places = {"first.mrc": (0, 1), "second.mrc": (0, 0), "Denoise1": (1, 1), "Denoise2": (1, 0), "Average": (2, 0.5)}
figure, axes = plt.subplots(figsize=(10, 2.8))
for name, fact in facts.items():
    for given in fact["inputs"].values():
        path = Path(given["path"])
        origin = path.parent.name if path.parent.name in places else path.name
        axes.annotate(
            "",
            xy=places[name],
            xytext=places[origin],
            arrowprops={"arrowstyle": "->", "shrinkA": 40, "shrinkB": 58, "color": "0.4"},
        )
for name, (x, y) in places.items():
    fact = facts.get(name)
    text = f"{name}\nsha256 {fact['outputs']['out.mrc']['sha256'][:8]}…" if fact else name
    axes.text(x, y, text, ha="center", va="center", bbox={"boxstyle": "round", "facecolor": "#e8f1fa" if fact else "0.95"})
axes.set(xlim=(-0.4, 2.4), ylim=(-0.4, 1.4))
axes.axis("off")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U13.e. The flow of files, drawn from the three `job.json` alone. A second run did nothing; a changed input re-ran what depends on it, and nothing else. Every command of this library works so; RELION keeps the same knowledge in `default_pipeline.star`.*

# %% [markdown] tags=["blur"]
# <a id="H36"></a>
# ## Repositories: fetching, and trusting what came
#
# Raw data lie at EMPIAR, maps at the EMDB, models at the PDB, and what a group shares often at the Open Science Framework (OSF). All of them are web servers: you ask for a list, then for files. Our archive here is a small server inside this notebook that speaks OSF's language.

# %% tags=["blur"]
shelf = {f"maps/half{number}.mrc": np.random.default_rng(number).bytes(40_000) for number in (1, 2)} | {
    "readme.txt": b"two half maps\n"
}
archive = FakeArchive(shelf, token="tk-for-this-lesson", page=2)
archive.start()


def ask(address, token, *, headers=None):
    """The number, the headers and the content of the answer to one request."""
    host, _, path = address.removeprefix("http://").partition("/")
    connection = HTTPConnection(host, timeout=5)
    connection.request("GET", "/" + path, headers={"Authorization": f"Bearer {token}", **(headers or {})})
    response = connection.getresponse()
    try:
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


number, _, body = ask(f"{archive.api}/nodes/abcde/files/osfstorage/maps/", "tk-for-this-lesson")
first = json.loads(body)["data"][0]
print(number, json.dumps({key: first[key] for key in ("attributes", "links")}, indent=1).replace(archive.url, "http://…"))
print("without a token:", ask(f"{archive.api}/nodes/abcde/files/", "wrong")[0])

# %% [markdown] tags=["blur"]
# *An item of the list: its name, its length, its sums, and where it can be had. The sums are what makes trust possible: SHA-256 of the bytes is the same if, and in practice only if, the bytes are the same.*
#
# Now the connection breaks in the middle. **What lies on the disk, if a script writes down what comes?**

# %% tags=["blur"]
archive.misbehaviour["maps/half1.mrc"] = [broken_off(0.6)]
connection = HTTPConnection(archive.url.removeprefix("http://"), timeout=5)
connection.request(
    "GET", first["links"]["download"].removeprefix(archive.url), headers={"Authorization": "Bearer tk-for-this-lesson"}
)
response = connection.getresponse()
promised, etag, arrived = int(response.headers["Content-Length"]), response.headers["ETag"], b""
while piece := response.read1(4096):
    arrived += piece
connection.close()
print(
    f"promised {promised:,} bytes, arrived {len(arrived):,}; the sum is right: {hashlib.sha256(arrived).hexdigest() == first['attributes']['extra']['hashes']['sha256']}"
)
number, said, rest = ask(
    first["links"]["download"], "tk-for-this-lesson", headers={"Range": f"bytes={len(arrived)}-", "If-Range": etag}
)
print(f"asked for the rest only: answer {number}, {said['Content-Range']}")
together = arrived + rest
print("now the sum is right:", hashlib.sha256(together).hexdigest() == first["attributes"]["extra"]["hashes"]["sha256"])
assert together == shelf["maps/half1.mrc"]

# %% [markdown] tags=["blur"]
# *60 % of a map, with a header that promises all of it: many programs would open it. `Range` asks for the rest, and `If-Range` with the ETag of the first answer says: only if it is still the same file, otherwise send it whole. Then the sum decides.*
#
# The library does all this, and looks whether what came is a map at all (an error page would not be). Twice, to see the second time:

# %% tags=["blur"]
os.environ |= {"CRYOWALK_OSF_URL": archive.api, "OSF_TOKEN": "tk-for-this-lesson", "CRYOWALK_CACHE": str(here / "cache")}
for attempt in ("first", "second"):
    archive.misbehaviour["maps/half2.mrc"] = [broken_off(0.3)] if attempt == "first" else []
    came = open_archive("osf").download("abcde", here / "shared")
    print(f"{attempt} time:", {each.name: f"{each.transferred:,} bytes, {each.verified}" for each in came})
assert sum(each.transferred for each in came) == 0
assert (here / "shared" / "maps" / "half2.mrc").read_bytes() == shelf["maps/half2.mrc"]

# %% [markdown] tags=["blur"]
# On the command line: `cryowalk fetch emdb EMD-1832 --half-maps --o Maps`, `cryowalk osf download abcde --o Shared`, `cryowalk osf upload --i Results --project abcde`. The token comes from the environment or a file that only you can read, never from the command line: there it would stay in the history of your shell and in every list of processes.
#
# **In your own words.** A colleague fetches maps with a script that asks for the file, writes what comes under its name, and on a wrong checksum asks again and keeps whatever comes then. Name what can go wrong, and what you would do instead.

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "A broken connection leaves half a map under its name, or an error page. I would write to another name, resume only if the file is unchanged, "
    "compare length and checksum over the whole file, and rename at last; a wrong checksum is never accepted."
)
# END SOLUTION
explain("U13.words", my_text)

# %% [markdown] tags=["sharpen"]
# ### Exercise U13.5 · A sync
#
# Write `sync(api, folder, token, log)`: afterwards the folder holds every file of the project `abcde`, in its folders; a file whose SHA-256 is right already is not asked for again; one whose sum is wrong is replaced; nothing that arrived in part or with a wrong sum ever stands under a file's name; `log(text)` is called for each file that came, and never with the token. The list of the project begins at `api + "/nodes/abcde/files/osfstorage/"`; it has pages (`links → next`) and folders (`kind` is `folder`; their list is at `relationships → files → links → related → href`). Use `ask` from above.


# %% tags=["sharpen"]
def sync(api, folder, token, log):
    """Nothing; the folder is in step with the project."""

    # BEGIN SOLUTION
    def items(address):
        while address:
            page = json.loads(ask(address, token)[2])
            yield from page["data"]
            address = page["links"]["next"]

    waiting = [(folder, f"{api}/nodes/abcde/files/osfstorage/")]
    while waiting:
        inside, address = waiting.pop()
        for item in items(address):
            path = inside / item["attributes"]["name"]
            if item["attributes"]["kind"] == "folder":
                path.mkdir(exist_ok=True)
                waiting.append((path, item["relationships"]["files"]["links"]["related"]["href"]))
                continue
            wanted = item["attributes"]["extra"]["hashes"]["sha256"]
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wanted:
                continue
            content = ask(item["links"]["download"], token)[2]
            if hashlib.sha256(content).hexdigest() != wanted:
                raise ValueError(f"{path.name}: wrong sum")
            part = path.with_name(path.name + ".part")
            part.write_bytes(content)
            part.replace(path)
            log(f"{path.name}: {len(content)} bytes")
    # END SOLUTION


check("U13.5", sync)

# %% [markdown] tags=["sharpen"]
# What is left to do for real archives is patience and distrust: time limits, a few repetitions with growing waits, a limit on redirects (and no token along them), a limit on size, names that lead out of the folder (`../../.ssh/…`), pages that lead in a circle, certificates. `tests/io/test_archives.py` of the repository tries each of them on a server like this one.

# %%
archive.stop()

# %% [markdown]
# ## What to take along
#
# - An MRC file is a header and numbers; voxel size = cell / intervals; a memory map reads one frame of a large file.
# - Tables differ in units, in names, and in where they begin to count. Look at the first and the last row.
# - Keep what you do not understand: unknown columns, texts such as `007`, extended headers.
# - An asymmetric object tells which of the 48 orders and flips a file has.
# - What was fetched is whole when its sum says so, and gets its name only then.
#
# **Next:** U14, from movies to micrographs.
