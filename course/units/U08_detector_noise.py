# %% [markdown]
# # U08 The detector and the origin of noise
#
# **Question.** Electrons arrive one by one, and a camera turns them into numbers. How much of what they carry survives, and where does all the noise in our pictures come from?
#
# **What you need.** U03 and the blur parts of U05 (a transfer function is the transform of a blur). For *sharpen*: the convolution theorem, and variance and covariance.
#
# **What you will be able to do.**
#
# - measure a camera: its MTF from a picture of an edge, its noise from pictures of nothing, and from both its DQE;
# - say what counting does better than integrating, and what it costs (coincidence loss);
# - name five sources of noise, and recognise each one by its fingerprint;
# - know when neighbouring pixels are independent, what makes them dependent, and why a curve in one dimension does not tell all (*sharpen*).
#
# About 75 minutes. *Blur*: shot noise, the knife edge, counting, the noise laboratory. *Sharpen*: an edge from scratch, deposits, two-dimensional transfer, covariances.

# %%
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, fourier, generator, microscope
from cryowalk.core.constants import interaction_constant
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.data.camera import Camera, Response
from cryowalk.microscope import camera, detector_curves, detector_events, detector_measurement, ice

torch.set_num_threads(1)

# %% [markdown] tags=["blur"]
# ## A picture of nothing
#
# No specimen, an even beam, a perfect camera: **25 electrons per pixel**, on average. What do the pixels show? (a) 25, all of them; (b) mostly between 20 and 30; (c) mostly between 24 and 26.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U08.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["blur"]
# Electrons do not know of each other. Throw them onto the camera like raindrops, from scratch, and count:

# %% tags=["blur"]
my_guess = prediction("U08.opening")
rain = np.random.default_rng(8)
side, per_pixel = 200, 25
place = rain.integers(0, side * side, size=side * side * per_pixel)  # the pixel that each electron hits
counts = np.bincount(place, minlength=side * side).reshape(side, side)

library = camera.record(torch.full((side, side), float(per_pixel)), camera.CAMERAS["ideal"], generator=generator(8))
number = np.arange(60)
poisson = np.exp(number * math.log(per_pixel) - per_pixel - np.array([math.lgamma(n + 1) for n in number]))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.imshow(counts[:60, :60], cmap="gray")
left.set(xticks=[], yticks=[], title="a picture of nothing")
right.hist(counts.ravel(), bins=np.arange(60) - 0.5, density=True, alpha=0.5, label="raindrops")
right.hist(
    library.numpy().ravel(), bins=np.arange(60) - 0.5, density=True, histtype="step", color="C1", label="cryowalk's camera"
)
right.plot(number, poisson, "k.", ms=4, label="Poisson's law")
right.legend()
right.set(xlabel="electrons in a pixel")
plt.show()
print(f"you said ({my_guess}); standard deviation {counts.std():.2f}, root of the mean {math.sqrt(per_pixel):.2f}")
for picture in (counts, library.numpy()):
    assert abs(picture.var() / picture.mean() - 1) < 0.03

# %% [markdown] tags=["blur"]
# *Figure U08.a. Left: 25 electrons per pixel. Right: how often a pixel counts how many.*
#
# **The variance is the mean.** That is Poisson's law, the first noise of every picture, and no camera can do without it: *shot noise*. Answer (b): $25\pm5$. It has two consequences that decide everything in cryo-EM. The signal-to-noise ratio grows only with the root of the dose, and the specimen stands only so much dose.
# So a camera must not waste electrons.
#
# <a id="H05"></a>
# ## What a camera does to an electron
#
# A camera can harm a picture in two ways. It can *blur*: an electron that comes down here is shown there. And it can add *noise*: electrons that should look alike do not, or are not noticed. Three curves over the spatial frequency $k$ (in cycles per pixel; Nyquist is ½) tell it all:
#
# | curve | it is | measured from |
# |---|---|---|
# | **MTF**, modulation transfer | how much of a wave's contrast is left | a picture of an edge |
# | **NPS**, noise power (NTF is its root, per electron) | how strong the noise is at $k$ | pictures of nothing |
# | **DQE**, detective quantum efficiency | how much of the *squared signal-to-noise ratio* is left: as if that part of the electrons had come, to a perfect camera | the two above, and the dose |
#
# Given two of them, the third follows: with $N$ electrons per pixel and the gain $g$ (output units per electron),
# $$ \mathrm{DQE}(k) = \frac{\mathrm{SNR}^2_\text{out}(k)}{\mathrm{SNR}^2_\text{in}(k)} = \frac{g^2\,N\,\mathrm{MTF}^2(k)}{\mathrm{NPS}(k)} . $$
#
# ### Exercise U08.1 · The pixel itself
#
# Even a perfect camera has pixels, and a square pixel shows the *mean* over its square. What is its MTF for a wave along a row at Nyquist, and its DQE? (Its noise is white: counted electrons in different pixels know nothing of each other.)

# %% tags=["blur"]
# BEGIN SOLUTION
at_nyquist = (np.sinc(0.5), np.sinc(0.5) ** 2)  # numpy's sinc is sin(πk)/(πk)
# END SOLUTION
check("U08.1", at_nyquist)

# %% [markdown] tags=["solution", "blur"]
# The mean of a wave $\cos 2\pi kx$ over a pixel of width 1 around its crest is $\int_{-1/2}^{1/2}\cos 2\pi kx\,dx = \frac{\sin\pi k}{\pi k}$: at $k=\frac12$ it is $2/\pi = 0.6366$. The noise stays white, so $\mathrm{DQE} = \mathrm{MTF}^2 = 4/\pi^2 = 0.4053$. **No camera that counts in square pixels is better at its Nyquist
# frequency than 0.41** (unless it finds out where in the pixel the electron was: super-resolution). It is one reason why nobody works at Nyquist.

# %% [markdown] tags=["blur"]
# ## The knife edge
#
# How do you measure an MTF? You need an object that has all frequencies, and that you know. A razor blade, or the beam stop: dark on one side, bright on the other. Put it *slightly askew*, and every row of pixels sees the edge at another place within the pixel. All rows together show it more finely than the pixels are:
#
# edge picture → *edge spread* (brightness against the distance from the edge) → its derivative, the *line spread* → its transform, the **MTF**.

# %% tags=["blur"]
frequencies = np.linspace(0, 0.5, 101)


def draw_edge(angle, blur, dose):
    """From a picture of a slanted edge to the MTF."""
    blade = detector_measurement.slanted_edge((240, 96), angle=math.radians(angle), blur=blur)
    picture = camera.record(blade * dose, camera.CAMERAS["ideal"], generator=generator(int(dose)))
    profile = detector_measurement.edge_profile(picture, reach=12)
    mtf = detector_measurement.modulation_transfer(profile)
    figure, (photo, spread, line, curve) = plt.subplots(1, 4, figsize=(14, 3.4), width_ratios=(0.8, 1.2, 1.2, 1.4))
    photo.imshow(picture[80:160], cmap="gray", aspect="auto")
    photo.set(xticks=[], yticks=[], title="edge")
    spread.plot(profile.position, profile.edge_spread, lw=1)
    spread.set(xlabel="distance (pixels)", title="edge spread", xlim=(-5, 5))
    line.plot(profile.position, profile.line_spread, lw=1)
    line.set(xlabel="distance (pixels)", title="line spread", xlim=(-5, 5))
    curve.plot(mtf.frequency, mtf.value, "o-", ms=3, label="measured")
    truth = np.sinc(frequencies) * np.exp(-2 * (np.pi * blur * frequencies) ** 2)
    curve.plot(frequencies, truth, "k--", lw=1, label="pixel and blur")
    curve.set(xlabel="k (cycles per pixel)", title="MTF", xlim=(0, 0.5), ylim=(0, 1.15))
    curve.legend(fontsize=8)
    figure.tight_layout()
    return figure


edge_player = exploration(
    draw_edge,
    angle=Slider(2.0, 8.0, 4.0, step=0.5, label="angle (degrees)"),
    blur=Slider(0.0, 1.5, 0.0, step=0.1, label="blur of the camera (pixels)"),
    dose=Choice((4000, 400, 50), label="electrons per pixel"),
)
edge_player

# %% [markdown] tags=["blur"]
# *Figure U08.b. The knife edge. Try 50 electrons per pixel: the derivative makes noise of high frequency large, so that an edge needs many electrons.*
#
# ## Pictures of nothing, and the DQE
#
# The noise is easier: take flat fields, subtract their mean, and look at the power spectrum. Let us measure a camera that is *set up* with known curves, and see whether they come back. Its MTF is that of a Falcon 4 (measured by others); its DQE falls from 0.92 to 0.50.

# %% tags=["blur"]
unknown = replace(camera.CAMERAS["falcon4ec"], gain=30.0)
dose = 40.0  # electrons per pixel
flats = camera.record(torch.full((6, 512, 512), dose), unknown, generator=generator(3))
noise_power = detector_measurement.noise_power_spectrum(flats, bins=16)
gain = detector_measurement.gain_of_flats(flats, dose=dose)  # the dose from a Faraday cup, say

blade = camera.record(
    detector_measurement.slanted_edge((1000, 160), angle=math.radians(4)) * 1e5, unknown, generator=generator(4)
)
edge = detector_measurement.modulation_transfer(detector_measurement.edge_profile(blade, reach=40))
k = np.array(edge.frequency)
mtf = Response(frequency=edge.frequency, value=tuple(np.array(edge.value) / np.sinc(k)))  # our blade was drawn with square pixels

dqe = detector_measurement.measured_dqe(mtf, noise_power, gain=gain, dose=dose)
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4))
for axes, curve, known, title in (
    (left, mtf, unknown.mtf, "MTF, from the edge"),
    (
        middle,
        replace(noise_power, value=tuple(np.sqrt(np.array(noise_power.value) / dose) / gain)),
        camera.noise_transfer(unknown),
        "NTF, from flat fields",
    ),
    (right, dqe, unknown.dqe, "DQE = g² N MTF² / NPS"),
):
    axes.plot(curve.frequency, curve.value, "o", ms=4, label="measured")
    axes.plot(known.frequency, known.value, "k-", lw=1, label="set")
    axes.set(xlim=(0, 0.5), ylim=(0, 1.15), xlabel="k (cycles per pixel)", title=title)
    axes.legend(fontsize=8)
plt.show()
set_dqe = np.interp(dqe.frequency, unknown.dqe.frequency, unknown.dqe.value)
error = np.abs(np.array(dqe.value) / set_dqe - 1)
print(
    f"gain {gain:.2f} (set: 30); largest error of the DQE between 0.05 and 0.45 cycles per pixel: {100 * error[1:14].max():.1f} %"
)
assert error[1:14].max() < 0.05

# %% [markdown] tags=["blur"]
# *Figure U08.c. A camera measured: edge, flat fields, and what follows from both.*
#
# Look at the MTF: 0.09 at Nyquist, poor. And yet the DQE is 0.50, better than that of any square pixel. How can that be? The blur acts on the noise as well (middle), and what acts on both alike can be undone. **The MTF alone says little about a camera.** Software that divides by the MTF (RELION's post-processing does, if you give it the
# MTF file) restores contrast; it cannot restore the DQE.
#
# ## Counting or integrating?
#
# A 300 keV electron that passes a thin sensor leaves some of its energy there, sometimes little, sometimes a lot. *Integrating* cameras add up what was deposited, so one electron may weigh ten times another. *Counting* cameras read so fast that each electron is seen alone, and write a 1.

# %% tags=["blur"]


def draw_counting(mode, electrons, threshold):
    """A small sensor in one raw frame, and the histogram of what single electrons are worth."""
    source = generator(12)
    arrived = torch.poisson(torch.full((24, 24), electrons), generator=source)
    sensor = Camera(mode="integrating", model="events")
    deposits = detector_events.drawn_deposits(int(arrived.sum()), sensor, generator=source)
    analogue = torch.zeros(24 * 24).index_add_(0, torch.repeat_interleave(torch.arange(576), arrived.long().ravel()), deposits)
    shown = analogue.reshape(24, 24) if mode == "integrating" else (analogue.reshape(24, 24) > threshold).float()
    figure, (truth, picture, worth) = plt.subplots(1, 3, figsize=(12, 3.6))
    for axes, image, title in ((truth, arrived, "electrons that came"), (picture, shown, f"what the {mode} camera shows")):
        axes.imshow(image, cmap="magma", vmin=0, vmax=3)
        axes.set(xticks=[], yticks=[], title=title)
    if mode == "integrating":
        worth.hist(deposits, bins=np.linspace(0, 6, 40), color="C3")
        worth.set(title="what one electron is worth", xlabel="deposit (mean 1)")
    else:
        lost = int(arrived.sum() - shown.sum())
        worth.bar(["counted once", "lost"], [int(shown.sum()), lost], color=["C0", "C3"])
        worth.set(title=f"{100 * lost / max(1, int(arrived.sum())):.0f} % lost")
    return figure


counting_player = exploration(
    draw_counting,
    mode=Choice(("integrating", "counting"), label="camera"),
    electrons=Slider(0.02, 1.0, 0.1, step=0.02, label="electrons per pixel and raw frame"),
    threshold=Slider(0.0, 0.5, 0.05, step=0.05, label="threshold of the counter"),
)
counting_player

# %% [markdown] tags=["blur"]
# *Figure U08.d. One raw frame of a small sensor. Turn up the rate in counting mode and watch electrons vanish: two in one pixel are counted as one.*
#
# That is **coincidence loss**. If $n$ electrons fall on a pixel in each raw frame, on average, none comes with probability $e^{-n}$, so $1-e^{-n}$ are counted.
#
# ### Exercise U08.4 · Two at a time
#
# A counting camera is run at 0.1 electrons per pixel and raw frame. How many **percent** of the electrons are lost?

# %% tags=["blur"]
# BEGIN SOLUTION
n = 0.1
loss = 100 * (1 - (1 - math.exp(-n)) / n)
# END SOLUTION
check("U08.4", loss)

# %% [markdown] tags=["solution", "blur"]
# $1 - (1-e^{-n})/n = 4.84\,\%$: near $n/2$, as the series says. At 400 raw frames per second $n=0.1$ is 40 electrons per pixel and second; at 1500, 150. (Real sensors spread an electron over several pixels and lose more: a *coincidence area* above one pixel.) So counting wants a **low dose rate**: a longer exposure, in which the stage drifts, and a slower microscope. That is the
# price.

# %% tags=["blur"]
rates = np.array([2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0])
figure, axes = plt.subplots(figsize=(6.5, 3.4))
for name, colour in (("k2", "C0"), ("falcon4ec", "C1"), ("k3", "C2")):
    preset = camera.CAMERAS[name]
    lost = [100 * detector_curves.coincidence_loss(rate / preset.frame_rate) for rate in rates]
    axes.loglog(rates, lost, colour, label=f"{name}, {preset.frame_rate:.0f} raw frames per second")
simulated = []
for rate in rates[2:5]:  # the camera itself
    sensor = Camera(frame_rate=400.0, dose_rate=float(rate))
    movie_frame = camera.record(torch.full((512, 512), float(rate)), sensor, generator=generator(1))  # one second
    simulated.append(100 * (1 - float(movie_frame.mean()) / rate))
axes.loglog(rates[2:5], simulated, "ko", ms=5, label="simulated, 400 per second")
axes.set(xlabel="electrons per pixel and second", ylabel="lost to coincidence (%)")
axes.legend(fontsize=8)
plt.show()
assert np.allclose(simulated, [100 * detector_curves.coincidence_loss(rate / 400) for rate in rates[2:5]], rtol=0.2)

# %% [markdown] tags=["blur"]
# *Figure U08.e. Coincidence loss against dose rate, if an electron needs one pixel.*
#
# <a id="H08"></a>
# ## Where noise comes from
#
# Take a picture of ice, without any protein. Nothing in it is signal, so all of it is noise. But it is noise of different kinds:
#
# 1. **Shot noise**: electrons are counted, variance = mean. White.
# 2. **Structural noise**: the ice itself. Water molecules lie where they lie, the electron wave sees them, *the lens images them*: so this noise has Thon rings. It is no noise to physics. It is a specimen that you did not ask for; carbon, contaminants and neighbouring particles belong here too.
# 3. **The camera's noise**: deposits that differ, electrons not noticed, read-out noise. It makes the NPS larger than the shot noise's and, with its blur, coloured.
# 4. **Fixed pattern**: pixels differ in gain. The same in every frame, unless the gain reference is applied (and remains where that is imperfect).
# 5. **Digits**: rounding when the file is written; harmless unless you store 0.4 electrons per pixel as integers of something else.
#
# Take them apart: since we simulate, we can have each one alone.

# %% tags=["blur"]
pixel_size, size = 1.5, 512
optics = Optics(pixel_size=pixel_size, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
one = torch.ones(1, dtype=torch.float64)
defocus = Defocus(major=15000.0 * one, minor=15000.0 * one, azimuth=0 * one, phase_shift=0 * one)
transfer = microscope.contrast_transfer(optics, defocus, size=(size, size))[0]
electrons = 40.0 * pixel_size**2  # per pixel: 40 electrons per Å²
sensor = camera.CAMERAS["k3"]
pattern = camera.gain_reference((size, size), deviation=0.02, generator=generator(40))


def band_power(image):
    """Power in each pair of Fourier shells, the mean over the pictures if there are several."""
    power = fourier.shell_average((fourier.to_fourier(image.double()).abs() ** 2).mean(0), size=(size, size))[1:]
    return power.reshape(-1, 2).mean(1)


powers = dict.fromkeys(("shot noise and camera", "ice, through the lens", "fixed pattern", "everything"), 0.0)
frames = 6
for index in range(frames):
    water = ice.projected_ice((size, size), pixel_size=pixel_size, thickness=300.0, generator=generator(100 + index))
    seen = fourier.to_real(fourier.to_fourier(water.double()) * transfer, width=size)
    expected = electrons * (1 - 2 * interaction_constant(300.0) * seen)
    with_pattern = expected / pattern  # a pixel with a large gain reference counts too few
    recorded = camera.record(with_pattern[None].float(), sensor, generator=generator(200 + index))
    structural = camera.expected_image(expected[None], sensor)
    parts = {
        "shot noise and camera": recorded - camera.expected_image(with_pattern[None], sensor),
        "ice, through the lens": structural - structural.mean(),
        "fixed pattern": camera.expected_image(with_pattern[None], sensor) - structural,
        "everything": recorded - recorded.mean(),
    }
    for name, part in parts.items():
        powers[name] = powers[name] + band_power(part) / frames

shells = (torch.arange(len(powers["everything"])) * 2 + 1.5) / (size * pixel_size)
total = sum(powers[name] for name in list(powers)[:3])
figure, (picture, axes) = plt.subplots(1, 2, figsize=(12, 4), width_ratios=(1, 1.8))
picture.imshow(recorded[0, :256, :256], cmap="gray")
picture.set(xticks=[], yticks=[], title="ice, 40 electrons per Å²")
for name, power in powers.items():
    style = {"color": "k", "lw": 2.5} if name == "everything" else {"lw": 1.5}
    axes.semilogy(shells, power, label=name, **style)
axes.semilogy(shells, total, "w--", lw=1)
axes.set(xlabel="k (1/Å)", ylabel="power per pixel (electrons²)", ylim=(float(powers["everything"].max()) * 1e-4, None))
axes.legend(fontsize=8)
plt.show()
deviation = (total / powers["everything"] - 1).abs()
print(f"the sum of the three powers differs from the power of everything by {100 * float(deviation.mean()):.1f} % on average")
assert float((total.sum() / powers["everything"].sum() - 1).abs()) < 0.02
rings = fourier.shell_average(transfer**2, size=(size, size))[1:].reshape(-1, 2).mean(1)
for name in ("ice, through the lens", "shot noise and camera"):
    inner = slice(10, 90)  # up to 5 Å, where the rings are not yet too narrow for the shells
    alike = float(torch.corrcoef(torch.stack([powers[name][inner].log(), rings[inner].log()]))[0, 1])
    print(f"{name}: correlation with CTF² {alike:.2f}")
    assert alike > 0.8 if name.startswith("ice") else abs(alike) < 0.3

# %% [markdown] tags=["blur"]
# *Figure U08.f. The noise of a picture of ice, taken apart. The ice has Thon rings, shot noise has none (behind this camera it stays nearly white), the pattern is smooth. White dashes: the sum of the three lies on the whole.*
#
# **Powers add**, because the three know nothing of each other. That is why a power spectrum can be read as a sum, and why CTF programs fit rings *above a background*.
#
# <a id="Q-M08-1"></a>
# ## How is real noise different from Gaussian additive noise?
#
# "Image = signal + Gaussian noise" stands at the top of many a paper. The study group asked what is wrong with it. Here are **your four stacks**: frames of one smooth scene, each with another kind of noise: `"white Gaussian"`, `"Poisson"`, `"coloured Gaussian"`, `"fixed pattern"`. They all have the same strength.

# %% tags=["blur"]
laboratory = parameters("U08.5")
stacks, scene = laboratory["stacks"], laboratory["scene"]
figure, panels = plt.subplots(2, 4, figsize=(11, 5.6))
for column, (letter, stack) in enumerate(stacks.items()):
    panels[0, column].imshow(stack[0], cmap="gray")
    panels[0, column].set_title(f"{letter}: one frame")
    panels[1, column].imshow(stack.mean(0), cmap="gray")
    panels[1, column].set_title(f"{letter}: mean of {len(stack)}")
for axes in panels.ravel():
    axes.set(xticks=[], yticks=[])
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U08.g. Your four stacks. Some can be told by eye; numbers are surer.* Three fingerprints for each of them:

# %% tags=["blur"]
for letter, stack in stacks.items():
    bright = scene > np.median(scene)
    over_frames = stack.var(0, ddof=1)
    noise = stack - stack.mean(0)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    averaged = (stack.mean(0) - scene).std() * math.sqrt(len(stack)) / (stack - scene).std()
    print(
        f"{letter}: variance in the bright half / in the dark half {over_frames[bright].mean() / over_frames[~bright].mean():.2f}; "
        f"correlation of neighbours {neighbours:+.2f}; what averaging leaves, against 1/√frames: {averaged:.1f} times"
    )

# %% [markdown] tags=["blur"]
# ### Exercise U08.5 · The mystery noise laboratory

# %% tags=["blur"]
names = {"A": "", "B": "", "C": "", "D": ""}
# BEGIN SOLUTION
for letter, stack in stacks.items():
    noise = stack - stack.mean(0)
    over_frames = stack.var(0, ddof=1)
    if (stack.mean(0) - scene).std() * math.sqrt(len(stack)) > 1.5 * (stack - scene).std():
        names[letter] = "fixed pattern"
    elif (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var() > 0.1:
        names[letter] = "coloured Gaussian"
    elif over_frames[scene > np.median(scene)].mean() > 1.2 * over_frames[scene <= np.median(scene)].mean():
        names[letter] = "Poisson"
    else:
        names[letter] = "white Gaussian"
# END SOLUTION
check("U08.5", names)

# %% [markdown] tags=["solution", "blur"]
# **Fingerprints.** *Poisson*: variance = mean, so bright places are noisier; whole numbers; skewed by $1/\sqrt{\text{mean}}$. *Coloured*: neighbours agree; the autocovariance is the inverse transform of the power spectrum. *Fixed pattern*: averaging frames does not help beyond a point. *White Gaussian*: what remains when nothing else is found.
#
# **So how is real noise different?** It depends on the signal (shot noise). It is correlated (the camera's blur, and every interpolation). Part of it is a fixed pattern. Part of it is structure, ice above all, that **the CTF modulates like the particle**, so that it is largest where the signal is. And it is not identically distributed: ice thickness, dose and defocus differ from image to image.
# What makes the Gaussian model work all the same: at 20 and more electrons per pixel Poisson is nearly Gaussian, our contrast is a few percent, so that the dependence on signal is weak, and programs estimate a noise *spectrum* for every group of images, which takes care of the colour. Where it fails: at low counts (frames!), near carbon and contaminants, and with structure that repeats.

# %% tags=["blur"]
noise = generator(5)
few = camera.record(torch.full((1000, 1000), 0.5), camera.CAMERAS["ideal"], generator=noise).double()  # a movie frame
many = camera.record(torch.full((1000, 1000), 50.0), camera.CAMERAS["ideal"], generator=noise).double()
for picture, mean in ((few, 0.5), (many, 50.0)):
    skewness = float(((picture - picture.mean()) ** 3).mean() / picture.std() ** 3)
    print(
        f"{mean} electrons per pixel: variance/mean {float(picture.var() / picture.mean()):.3f}, skewness {skewness:.3f}, 1/√mean {1 / math.sqrt(mean):.3f}"
    )
    assert abs(float(picture.var() / picture.mean()) - 1) < 0.02
    assert abs(skewness - 1 / math.sqrt(mean)) < 0.02

# %% [markdown] tags=["sharpen"]
# ## Sharpen: the edge from scratch
#
# ### Exercise U08.2 · MTF from a slanted edge
#
# Write a function that gets an image (an array) and the angle of its edge to the y axis (rad; the edge runs through the middle of the image, and the distance of a pixel from it is $x\cos\alpha + y\sin\alpha$), and returns two arrays: frequencies in cycles per pixel, up to Nyquist at least, and the MTF at them. The square pixel's is the truth: come within 2 % of it. The dark side may be
# left or right.


# %% tags=["sharpen"]
def mtf_of_edge(image, angle):
    """Frequencies (cycles per pixel) and the MTF across a slanted edge."""
    # BEGIN SOLUTION
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = x - (image.shape[1] - 1) / 2, y - (image.shape[0] - 1) / 2
    distance = x * math.cos(angle) + y * math.sin(angle)
    fine = 8  # bins per pixel
    reach = int(image.shape[1] / 2 - abs(math.tan(angle)) * image.shape[0] / 2 - 2)  # what all rows reach
    bins = np.floor((distance + reach) * fine).astype(int)
    inside = (bins >= 0) & (bins < 2 * reach * fine)
    edge_spread = np.bincount(bins[inside], weights=image[inside]) / np.bincount(bins[inside])
    line_spread = np.diff(edge_spread)
    frequency = np.fft.rfftfreq(len(line_spread), 1 / fine)
    amplitude = np.abs(np.fft.rfft(line_spread))
    return frequency, amplitude / amplitude[0] / np.sinc(frequency / fine) ** 2
    # END SOLUTION


check("U08.2", mtf_of_edge)

# %% [markdown] tags=["solution", "sharpen"]
# The two things that one forgets: a bin averages over 1/8 pixel and a difference spans 1/8 pixel, each with the transfer $\operatorname{sinc}(k/8)$, 0.6 % at Nyquist, together 1.3 %; and that the distance is measured across the edge. With noise one would restrict the line spread to a few pixels around the edge, or fit it (McMullan et al. 2009 fit a sum of error functions).

# %% [markdown] tags=["sharpen"]
# ## Deposits
#
# The energy that a fast electron leaves in a thin sensor follows Landau's law: a steep rise, and a long tail of rare, violent collisions. A camera that integrates adds $N$ such deposits, with $N$ a Poisson number. The variance of such a sum is $\langle N\rangle\langle\varepsilon^2\rangle$, its mean $\langle N\rangle\langle\varepsilon\rangle$, hence
# $$ \mathrm{DQE}(0) = \frac{\langle\varepsilon\rangle^2}{\langle\varepsilon^2\rangle} = \frac{1}{1 + \sigma_\varepsilon^2/\langle\varepsilon\rangle^2}. $$
#
# ### Exercise U08.3 · Half of them for nothing
#
# Take a rough model of the tail: exponentially distributed deposits, $p(\varepsilon) = e^{-\varepsilon}$. What is DQE(0)? By integral, or by simulation.

# %% tags=["sharpen"]
# BEGIN SOLUTION
deposits = np.random.default_rng(3).exponential(size=1_000_000)
efficiency = deposits.mean() ** 2 / (deposits**2).mean()
# END SOLUTION
check("U08.3", efficiency)

# %% [markdown] tags=["solution", "sharpen"]
# $\int\varepsilon^2e^{-\varepsilon}d\varepsilon = 2$, so $\mathrm{DQE}(0) = 1/2$. An integrating camera throws half of the information away at *every* frequency, before any blur. Counting is worth a factor of up to two in dose.

# %% tags=["sharpen"]
figure, axes = plt.subplots(figsize=(7, 3.2))
for law, spread_of_deposits in (("exponential", 1.0), ("moyal", 0.5), ("wald", 0.5)):
    sensor_of_law = Camera(mode="integrating", model="events", deposit=law, deposit_deviation=spread_of_deposits)
    drawn = detector_events.drawn_deposits(200_000, sensor_of_law, generator=generator(6))
    axes.hist(
        drawn.numpy(),
        bins=np.linspace(-0.2, 5, 150),
        density=True,
        histtype="step",
        label=f"{law}: standard deviation {spread_of_deposits}",
    )
    flat_fields = camera.record(torch.full((4, 256, 256), 8.0), sensor_of_law, generator=generator(7))
    measured = 8.0 * float(flat_fields.mean() / 8.0) ** 2 / float((flat_fields - flat_fields.mean(0)).var() * 4 / 3)
    print(f"{law:12} DQE(0) measured {measured:.3f}, 1/(1 + σ²) = {detector_curves.deposit_efficiency(spread_of_deposits):.3f}")
    assert abs(measured - detector_curves.deposit_efficiency(spread_of_deposits)) < 0.02
axes.set(xlabel="deposit (mean 1)", title="what one electron leaves behind")
axes.legend(fontsize=8)
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U08.h. Three laws of deposits: exponential, Moyal's (a closed form close to Landau's), and the inverse Gaussian (Wald) that TEM-simulator uses.*
#
# And coincidence? Counting $m$ raw frames, a pixel's count is *binomial*, with $p = 1 - e^{-n}$: fewer counts, and *less* noise than Poisson's. The slope of the mean count with the dose is $e^{-n}$, so $\mathrm{DQE}(0) = n\,e^{-2n}/[(1-e^{-n})e^{-n}] = n/(e^n-1)$, close to $1 - n/2$: the loss in information is about the loss in counts.

# %% tags=["sharpen"]
crowded = Camera(frame_rate=400.0, dose_rate=40.0)  # n = 0.1
seconds = camera.record(torch.full((600, 600), 40.0), crowded, generator=generator(9)).double()
print(
    f"mean {float(seconds.mean()):.3f} of 40; variance/mean {float(seconds.var() / seconds.mean()):.3f}, binomial {math.exp(-0.1):.3f}"
)
assert abs(float(seconds.var() / seconds.mean()) - math.exp(-0.1)) < 0.01
information = 40 * math.exp(-0.1) ** 2 / float(seconds.var())
print(f"DQE(0) {information:.3f}; n/(exp n − 1) = {detector_curves.coincidence_efficiency(0.1):.3f}")
assert abs(information - detector_curves.coincidence_efficiency(0.1)) < 0.02

# %% [markdown] tags=["sharpen"]
# <a id="Q-M09-1"></a>
# ## One dimension or two?
#
# *What would be the difference between doing the convolution of the DQE/NTF in 2D versus 1D?* Published curves are one-dimensional: a function of $|k|$, often measured with one edge, in one direction. Images are two-dimensional.
#
# ### Exercise U08.7 · The same |k|, two values
#
# What is the MTF of a square pixel at $|\mathbf k| = \tfrac12$ along a row, and along the diagonal?

# %% tags=["sharpen"]
# BEGIN SOLUTION
component = 0.5 / math.sqrt(2)
two_values = (np.sinc(0.5), np.sinc(component) ** 2)
# END SOLUTION
check("U08.7", two_values)

# %% tags=["sharpen"]
kx, ky = np.meshgrid(np.linspace(-0.5, 0.5, 201), np.linspace(-0.5, 0.5, 201))
surface = np.sinc(kx) * np.sinc(ky)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
drawing = left.contourf(kx, ky, surface, levels=np.linspace(0.4, 1, 13))
left.add_patch(plt.Circle((0, 0), 0.5, fill=False, color="w", ls="--"))
left.set(aspect="equal", xlabel="kx", ylabel="ky", title="MTF of a square pixel")
figure.colorbar(drawing, ax=left)
angle = np.linspace(0, 90, 181)
around = np.sinc(0.5 * np.cos(np.radians(angle))) * np.sinc(0.5 * np.sin(np.radians(angle)))
right.plot(angle, around)
right.axhline(around.mean(), color="0.6", ls=":", label="rotational average")
right.set(xlabel="direction (degrees)", title="along the dashed circle, |k| = Nyquist")
right.legend()
plt.show()
print(f"on the axis {around[0]:.4f}, on the diagonal {around[90]:.4f}; in the corner (½, ½) {np.sinc(0.5) ** 2:.3f}")
assert abs(np.sinc(0.5) ** 2 - 0.405) < 5e-4

# %% [markdown] tags=["sharpen"]
# *Figure U08.i. A square pixel's transfer is not a function of |k| alone. The difference is small on the circle; it grows towards the corners.*
#
# ### Exercise U08.8 · Line spread and point spread
#
# An edge gives the *line spread*: the picture of a line. It is the point spread, summed along the line. Show that its transform is a *slice* of the two-dimensional MTF (a theorem that you will meet again in U21, in one dimension more). Write a function of a two-dimensional MTF (a real array, frequencies in the order of `np.fft.fftfreq`, rows are $k_y$) that returns the line spread along $x$
# (for a line along $y$), and its transform.


# %% tags=["sharpen"]
def line_spread_and_transform(mtf):
    """The line spread along x, and its transform, of a camera with this two-dimensional MTF."""
    # BEGIN SOLUTION
    point_spread = np.fft.ifft2(mtf).real
    line_spread = point_spread.sum(axis=0)
    return line_spread, np.fft.fft(line_spread)
    # END SOLUTION


check("U08.8", line_spread_and_transform)

# %% [markdown] tags=["solution", "sharpen"]
# Summing over $y$ is taking the transform at $k_y=0$; what remains is the transform along $x$. So **an edge measures one slice of the MTF**, and one slice is the whole only if the MTF is isotropic.
#
# **The answer to the question.** A curve of $|k|$, applied in two dimensions as a radial function, is right for an isotropic camera and a good approximation for others. It is *not* the same as convolving the image's rows with the line spread: that blurs along $x$ only. Nor is it the same to convolve rows and then columns with it, unless the MTF is a product $M(k_x)M(k_y)$, which of all isotropic functions only the
# Gaussian is:

# %% tags=["sharpen"]
point = detector_measurement.point_spread(camera.CAMERAS["k2"], (64, 64))
line = detector_measurement.line_spread(camera.CAMERAS["k2"], (64, 64))
twice = line[:, None] * line
signal = detector_curves.transfer(camera.CAMERAS["k2"], (64, 64), dtype=torch.float64).signal
slice_error = (fourier.to_fourier(line, dimensions=1).real * 8 - signal[0]).abs().max()  # 8 = √64: orthonormal transforms
figure, panels = plt.subplots(1, 3, figsize=(12, 3.2))
for axes, image, title in (
    (panels[0], point, "point spread (2D)"),
    (panels[1], twice, "line spread in x, then in y"),
    (panels[2], point - twice, "difference"),
):
    shown = axes.imshow(image[24:41, 24:41], cmap="gray")
    axes.set(xticks=[], yticks=[], title=title)
    figure.colorbar(shown, ax=axes)
plt.show()
print(
    f"transform of the line spread against the slice of the MTF: {float(slice_error):.0e}; middle of the point spread {float(point[32, 32]):.3f} against {float(twice[32, 32]):.3f}"
)
assert float(slice_error) < 1e-10

# %% [markdown] tags=["sharpen"]
# *Figure U08.j. The K2's point spread, and what comes of treating its curve as one-dimensional.*
#
# <a id="Q-M09-3"></a>
# ## When are pixels independent?
#
# *What sorts of models would break the pixel independence?* The noise model of most programs says: every Fourier coefficient, or every pixel, has noise of its own. For counted electrons that is exact. Then things happen.
#
# ### Exercise U08.6 · Neighbours
#
# Write `neighbour_correlation(image)`: the correlation between a pixel and its right neighbour, the mean subtracted. Then use it on 512 × 512 pixels of white noise,
#
# - as they are (`"white"`);
# - after your camera's noise transfer, $1 - 2(1-a)|k|$ with your $a$ at Nyquist, constant beyond it (`"camera"`);
# - after a shift by half a pixel in $x$ **and** $y$ with bilinear interpolation, that is, each pixel replaced by the mean of four: its variance (`"shifted variance"`) and its correlation (`"shifted"`).

# %% tags=["sharpen"]
at_nyquist_of_camera = parameters("U08.6")["at_nyquist"]
white = torch.randn(512, 512, generator=generator(11), dtype=torch.float64)
answer = {"correlation": None, "white": None, "camera": None, "shifted variance": None, "shifted": None}
# BEGIN SOLUTION


def neighbour_correlation(image):
    """The correlation of each pixel with the one to its right."""
    centred = np.asarray(image) - np.asarray(image).mean()
    return float((centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean())


radius = fourier.frequency_radius((512, 512), pixel_size=1.0, dtype=torch.float64).clamp(max=0.5)
blurred = fourier.to_real(fourier.to_fourier(white) * (1 - 2 * (1 - at_nyquist_of_camera) * radius), width=512)
halfway = (white + white.roll(1, 1)) / 2
halfway = (halfway + halfway.roll(1, 0)) / 2
answer = {
    "correlation": neighbour_correlation,
    "white": neighbour_correlation(white),
    "camera": neighbour_correlation(blurred),
    "shifted variance": float(halfway.var()),
    "shifted": neighbour_correlation(halfway),
}
# END SOLUTION
check("U08.6", answer)

# %% [markdown] tags=["solution", "sharpen"]
# The correlation of a filtered white noise is the inverse transform of the filter's square, at a distance of one pixel. Bilinear interpolation at half a pixel averages four: variance $4\cdot\frac1{16} = \frac14$, and neighbours share half of their pixels: correlation $\frac12$.
#
# **What breaks independence.** In pixels: the camera (its NTF is not flat, so that neighbours share an electron), interpolation (motion correction, magnification, picking at subpixel places; Fourier shifts do not, at integer sizes), binning with a soft filter, low-pass filters, and structural noise (ice, carbon), which has its own spectrum *and* the CTF's. In frames: a fixed pattern. Everything in this list that is a *stationary filter* keeps the Fourier
# coefficients independent: they merely have different variances, and that is why programs write the likelihood in Fourier space with a noise spectrum. What breaks that too: masks, and noise whose strength varies over the image (U17).

# %% tags=["sharpen"]


def covariance_picture(make, *, width=10, samples=4000):
    """The correlation matrix of a row of pixels, from many pictures."""
    rows = torch.stack([make(index)[8, 8 : 8 + width] for index in range(samples)]).double()
    return torch.corrcoef(rows.T)


falcon = camera.CAMERAS["falcon4ec"]
batch = {
    "counted electrons": camera.record(torch.full((4000, 24, 24), 9.0), camera.CAMERAS["ideal"], generator=generator(20)),
    "through a camera": camera.record(torch.full((4000, 24, 24), 9.0), falcon, generator=generator(21)),
}
counted = batch["counted electrons"]
batch["shifted by ½ pixel"] = (counted + counted.roll(1, 2) + counted.roll(1, 1) + counted.roll((1, 1), (1, 2))) / 4
whole = ice.projected_ice((512, 512), pixel_size=1.5, thickness=300.0, generator=generator(22)).double()
whole = fourier.to_real(fourier.to_fourier(whole) * transfer, width=512)
places = torch.randint(0, 488, (4000, 2), generator=generator(23))
batch["ice, through the lens"] = torch.stack([whole[row : row + 24, column : column + 24] for row, column in places.tolist()])
figure, panels = plt.subplots(1, 4, figsize=(13, 3.2))
for axes, (title, images) in zip(panels, batch.items(), strict=True):
    matrix = covariance_picture(lambda index, images=images: images[index])
    shown = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[], title=title)
    if title == "counted electrons":
        assert (matrix - torch.eye(10)).abs().max() < 0.08
figure.colorbar(shown, ax=panels)
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U08.k. Correlation matrices of ten pixels in a row (red +1, blue −1). Diagonal: independent. A band: stationary, so the Fourier coefficients are independent. The ice through a defocused lens is correlated too, with changing sign.*
#
# For coloured noise the whole band follows from the spectrum: the autocovariance is its inverse transform.

# %% tags=["sharpen"]
flats_of_falcon = camera.record(torch.full((4, 512, 512), 9.0), falcon, generator=generator(24)).double()
flat_noise = flats_of_falcon - 9.0
direct = [float((flat_noise * flat_noise.roll(shift, 2)).mean()) for shift in range(4)]
power_of_falcon = (9.0 * detector_curves.transfer(falcon, (512, 512), dtype=torch.float64).noise ** 2).to(torch.complex128)
by_spectrum = fourier.to_real(power_of_falcon, width=512)[256, 256:260] / 512  # 512 = √(512²): orthonormal
print("autocovariance at 0, 1, 2, 3 pixels: measured", np.round(direct, 3), "from the spectrum", np.round(by_spectrum.numpy(), 3))
assert np.allclose(direct, by_spectrum.numpy(), atol=0.02 * direct[0])

# %% [markdown] tags=["blur"]
# ## In your own words
#
# A colleague says: *our new camera has a worse MTF than the old one, so it must be the worse camera.* What do you answer?

# %% tags=["blur"]
my_words = ""
# BEGIN SOLUTION
my_words = (
    "Blur acts on signal and noise the same way and can be undone. What counts is the signal-to-noise ratio: compare the DQE."
)
# END SOLUTION
explain("U08.words", my_words)

# %% [markdown] tags=["blur"]
# ## With your own data
#
# - *Which dose rate?* The mean of a raw movie frame, electrons per pixel, times the frames per second that were written; divided by the camera's *raw* frame rate it is the $n$ of this unit. `cryowalk.microscope.detector_curves.coincidence_loss(n)`.
# - *Is the gain reference right?* Average many frames of empty areas: a pattern that stays is the fixed pattern. The wrong orientation is the most frequent mistake with gain references; `corrected = raw × gain reference` is the convention of RELION and MotionCor2.
#
# ```python
# import cryowalk as cw
# from cryowalk.microscope import camera, detector_measurement as measure
#
# flats = ...   # a tensor [frames, height, width] of empty exposures
# print(measure.gain_over_efficiency(flats))   # gain / DQE(0): below 1.3 for a counting camera
# reference = measure.gain_reference_of_flats(flats)
# image = camera.corrected(flats[0], reference)
# ```
#
# ## Further reading
#
# - G. McMullan, S. Chen, R. Henderson, A. R. Faruqi, *Detective quantum efficiency of electron area detectors in electron microscopy*, Ultramicroscopy 109, 1126–1143 (2009). Edge, flat field and DQE, and how they go together.
# - G. McMullan, A. R. Faruqi, D. Clare, R. Henderson, *Comparison of optimal performance at 300 keV of three direct electron detectors*, Ultramicroscopy 147, 156–163 (2014).
# - X. Li, S. Q. Zheng, K. Egami, D. A. Agard, Y. Cheng, *Influence of electron dose rate on electron counting images recorded with the K2 camera*, J. Struct. Biol. 184, 251–260 (2013). Coincidence loss in practice.
# - M. Vulović et al., *Image formation modeling in cryo-electron microscopy*, J. Struct. Biol. 183, 19–32 (2013), section 2.4: the order of Poisson noise and transfer that this unit uses.
# - F. J. Sigworth, *Cryo-EM Principles*, and the NCCAT lecture of 2020: noise in the forward model. The pre-reading of the study group.
#
# **Next:** U09, specimens that are tilted or thick.
