# %% [markdown]
# # U05 Convolution
#
# **Question.** Lens, camera, drift, mask, template, interpolation: why is nearly everything that happens to a particle's image the same operation?
#
# **What you need.** U03 (the transform and its laws) and a look at U04 (wrap-around). For *sharpen*: substitution in integrals, completing the square.
#
# **What you will be able to do.**
#
# - see a convolution as a window that slides, write down the integral with its bounds, and say what one picture of the animation stands for;
# - use the convolution theorem in both directions, and explain why a blur is a low-pass filter;
# - find seven convolutions between the gun and the map, and say what is convolved with what, in how many dimensions and in which space;
# - convolve through Fourier space with the right padding and the right origin, know when that pays (*sharpen*), and prove what you use (*sharpen*).
#
# About 90 minutes.

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, fourier, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction

# %% [markdown] tags=["blur"]
# ## A guess to begin with
#
# You photograph one star, and your lens turns it into a small comma, tail to the right. Now you photograph many stars. **What do you see?** (a) a comma at each star, tails to the right;
# (b) a comma at each star, tails to the left; (c) one large comma.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "a"
# END SOLUTION
predict("U05.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["blur"]
# ## Two ways to see one thing
#
# **Stamping.** Every point of the object is replaced by a copy of the same pattern, the *kernel*, as strong as the point is. All copies are added. That is what a lens does, and it answers the guess: (a).
#
# **Sliding.** Ask instead what arrives at *one* place of the picture. Contributions come from all around, each with a weight that depends on how far away it was. A point that lies to the *left* of us contributes with the *right* side of its stamp. So the weights, laid out around us,
# are the kernel **mirrored**. That mirror confuses everybody once; it is the same stamping, written down from the receiver's side.
#
# $$ (f*g)(x) = \int_{-\infty}^{\infty} f(t)\,g(x-t)\,dt . $$
#
# In the computer it is a sum, and from scratch it is two loops. Both ways:

# %% tags=["blur"]
stars = np.array([0, 0, 3, 0, 0, 0, 1, 2, 0, 0, 0, 0], dtype=float)
comma = np.array([1.0, 0.5, 0.25])  # bright at its origin, with a tail to the right


def by_stamping(f, g):
    """Add a copy of g at every point of f, as strong as the point."""
    total = np.zeros(len(f) + len(g) - 1)
    for t, strength in enumerate(f):
        total[t : t + len(g)] += strength * g
    return total


def by_sliding(f, g):
    """For every place x add what arrives there: f(t) with the weight g(x - t)."""
    return np.array([sum(f[t] * g[x - t] for t in range(len(f)) if 0 <= x - t < len(g)) for x in range(len(f) + len(g) - 1)])


print("stamping", by_stamping(stars, comma))
print("sliding ", by_sliding(stars, comma))
print(f"your guess was {prediction('U05.opening')}")
assert np.allclose(by_stamping(stars, comma), by_sliding(stars, comma))
assert np.allclose(by_stamping(stars, comma), np.convolve(stars, comma))

# %% [markdown] tags=["blur"]
# <a id="Q-M04-3"></a>
# ## The player
#
# The practical that the study group used has an animation of a window that slides over a signal. (We have rebuilt the idea, not copied the animation.) *Write down the mathematical object that is visualized, including the bounds of the integral. What does one snapshot stand for?*
#
# Move the slider. Upper panel: $f(t)$, and the mirrored, moved $g(x-t)$, both as functions of $t$. Middle: their product. Its area is **one number**. Lower panel: that number, as a function of $x$.

# %% tags=["blur"]
fine = np.linspace(-4, 4, 1601)
PLAYER_SHAPES = {
    "box": lambda t: (np.abs(t) < 0.5) * 1.0,
    "comma (sharp left, tail to the right)": lambda t: np.where(t >= 0, np.exp(-2 * np.clip(t, 0, None)), 0.0),
    "Gaussian": lambda t: np.exp(-np.pi * t**2),
    "two spikes": lambda t: np.exp(-np.pi * ((t + 1) / 0.2) ** 2) + 0.6 * np.exp(-np.pi * ((t - 0.7) / 0.2) ** 2),
}


def draw_player(x, f, g):
    """One position of the sliding window: the two factors, their product, and the result so far."""
    step = fine[1] - fine[0]
    first, second = PLAYER_SHAPES[f](fine), PLAYER_SHAPES[g](x - fine)
    area = (first * second).sum() * step
    kernel = PLAYER_SHAPES[g](np.arange(-1600, 1601) * step)
    result = np.convolve(first, kernel)[1600:3201] * step
    figure, (above, middle, below) = plt.subplots(3, 1, figsize=(8, 5.2), sharex=True)
    above.plot(fine, first, "C0", label="f(t)")
    above.plot(fine, second, "C1", label="g(x − t): mirrored, then moved to x")
    above.axvline(x, color="C1", ls=":")
    above.legend(loc="upper right", fontsize=8)
    middle.fill_between(fine, first * second, color="C2", alpha=0.6)
    middle.set(ylim=(0, 1.1), ylabel="product")
    middle.text(-3.9, 0.85, f"area = {area:.3f}", color="C2")
    below.plot(fine, result, "k")
    below.plot(x, area, "C2o", ms=8)
    below.set(xlabel="t (upper two), x (lowest)", ylabel="(f ∗ g)(x)", xlim=(-4, 4))
    return figure


player = exploration(
    draw_player,
    x=Slider(-3.0, 3.0, 0.9, step=0.05, label="x"),
    f=Choice(("two spikes", "box", "Gaussian", "comma (sharp left, tail to the right)"), label="f"),
    g=Choice(("comma (sharp left, tail to the right)", "box", "Gaussian", "two spikes"), label="g"),
)
player

# %% [markdown] tags=["blur"]
# *Figure U05.a. The convolution player at one position. The green area above is the height of the green point below.*
#
# ### Exercise U05.1 · One snapshot, one number
#
# Choose the box for both. A box of height 1 reaches from $-\tfrac12$ to $\tfrac12$. What is the value of box ∗ box at $x = 0.25$?

# %% tags=["blur"]
# BEGIN SOLUTION
value = 1 - 0.25
# END SOLUTION
check("U05.1", value)

# %% [markdown] tags=["solution", "blur"]
# **The object.** The animation shows the function $x \mapsto \int_{-\infty}^{\infty} f(t)\,g(x-t)\,dt$. The variable of integration $t$ runs over everything; $x$ is the position of the window and is *held fixed* while one integral is taken. So **one snapshot is one definite
# integral, that is, one value of the result**; the film is the whole function.
#
# The bounds are always $\pm\infty$. Where the functions vanish outside an interval, fewer suffice: for two boxes the product is zero unless $-\frac12<t<\frac12$ *and* $x-\frac12<t<x+\frac12$, so
# $$ (\Pi*\Pi)(x) = \int_{\max(-\frac12,\,x-\frac12)}^{\min(\frac12,\,x+\frac12)} 1\,dt = \max(0,\ 1-|x|), $$
# a triangle on $[-1, 1]$. At $x=0.25$ the bounds are $-0.25$ and $0.5$. For pictures the integral is double, over $\mathbf t=(t_x,t_y)$, and the kernel is mirrored in both directions, that is, turned by 180°.

# %% tags=["blur"]
step = 1e-4
t = np.arange(-0.5 + step / 2, 0.5, step)
for position in (-1.0, -0.6, 0.0, 0.25, 0.9, 1.2):
    area = (np.abs(position - t) < 0.5).sum() * step
    assert math.isclose(area, max(0.0, 1 - abs(position)), abs_tol=2e-4)

# %% [markdown] tags=["blur"]
# <a id="Q-M04-1"></a>
# ## The homework: a hill and a valley
#
# From Sigworth's lecture, as the study group asked it: *if* $g(x) = e^{-\pi(x-2)^2} - e^{-\pi(x+2)^2}$, *what is* $G(u)$? Before anybody computes: look at it, and predict. Is $G$ real or imaginary, even or odd, and what is it at $u=0$?
#
# ### Exercise U05.2 · Look first

# %% tags=["blur"]
hill_and_valley = np.exp(-np.pi * (fine - 2) ** 2) - np.exp(-np.pi * (fine + 2) ** 2)
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.plot(fine, hill_and_valley)
axes.axhline(0, color="0.8")
axes.set(xlabel="x", ylabel="g(x)")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U05.b. The function of the homework.* Fill in: `"values"` is `"real"` or `"imaginary"`; `"symmetry"` is `"even"` or `"odd"`; `"at zero"` is `"zero"` or `"largest"`.

# %% tags=["predict", "blur"]
my_prediction = {"values": "", "symmetry": "", "at zero": ""}
# BEGIN SOLUTION
my_prediction = {"values": "imaginary", "symmetry": "odd", "at zero": "zero"}
# END SOLUTION
predict("U05.2", my_prediction)

# %% [markdown] tags=["blur"]
# Now watch it happen. Each bump alone has the transform $e^{-\pi u^2}$ times a phasor that turns with $u$, because the bump sits at $\pm2$ (the shift law of U03). The two phasors turn in opposite directions; the second is subtracted.


# %% tags=["blur"]
def draw_phasors(u):
    """The two phasors of the homework, and their difference."""
    size = math.exp(-math.pi * u * u)
    right, left = size * np.exp(-4j * np.pi * u), size * np.exp(4j * np.pi * u)
    axis = np.linspace(-1.2, 1.2, 481)
    figure, (circle, graph) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 1.5))
    circle.add_patch(plt.Circle((0, 0), size, fill=False, color="0.8"))
    for arrow, colour, name in ((right, "C0", "bump at +2"), (-left, "C1", "minus bump at −2"), (right - left, "C3", "sum")):
        circle.plot([0, arrow.real], [0, arrow.imag], colour, lw=2.5, label=name)
        circle.plot(arrow.real, arrow.imag, colour + "o")
    circle.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal", xlabel="real", ylabel="imaginary")
    circle.legend(fontsize=7, loc="upper right")
    graph.plot(axis, -2 * np.sin(4 * np.pi * axis) * np.exp(-np.pi * axis**2), "C3")
    graph.plot(u, (right - left).imag, "C3o")
    graph.axhline(0, color="0.8")
    graph.set(xlabel="u", ylabel="imaginary part of G", title="the real part is zero")
    figure.tight_layout()
    return figure


my_prediction = prediction("U05.2")
phasors = exploration(draw_phasors, u=Slider(-1.2, 1.2, 0.06, step=0.02, label="u"))
phasors

# %% [markdown] tags=["blur"]
# *Figure U05.c. Left: the contributions of the two bumps as arrows in the complex plane; their sum (red) always lies on the imaginary axis. Right: its length, with sign.*

# %% tags=["blur"]
check("U05.2", my_prediction)

# %% [markdown] tags=["solution", "blur"]
# $g$ is real and **odd**: $g(-x) = -g(x)$. In $\int g(x)(\cos2\pi ux - i\sin 2\pi ux)dx$ the cosine part cancels, and what remains is $-i$ times a real odd function of $u$. At $u=0$ the transform is the area, and hill and valley cancel. An *even* real function would have a real, even transform.

# %% [markdown] tags=["blur"]
# <a id="Q-M04-5"></a>
# ## The theorem, and why a blur is a filter
#
# Here is what makes convolution bearable. If $f(x) = (g*h)(x)$, then
# $$ F(u) = G(u)\,H(u). $$
# A wave that goes in comes out as the same wave, only stronger or weaker and perhaps moved: a kernel cannot turn one frequency into another. $H(u)$ is the factor for each wave, and is called the **transfer function**. (The proof is in U03.) It works both ways:
# a *product* in real space is a *convolution* in Fourier space.
#
# The question: *when we convolve with a broad Gaussian, what is happening in Fourier space, and how does this relate to filtering?* Take the hinge, the protein that comes with cryowalk.

# %% tags=["blur"]
box, pixel_size = 96, 2.0  # pixels, Å
volume = microscope.specimen.potential(microscope.hinge(), box=box, voxel_size=pixel_size)
projection = (volume.voxels.sum(0) / volume.voxels.sum(0).max()).double()


def gaussian_transfer(size, sigma):
    """The transfer function of a Gaussian blur with a standard deviation of sigma pixels, on the half spectrum."""
    radius = fourier.frequency_radius(size, pixel_size=1.0, dtype=torch.float64)
    return torch.exp(-2 * math.pi**2 * sigma**2 * radius**2)


def draw_blur(sigma):
    """A blur in real space and the same thing as a filter in Fourier space."""
    blurred = fourier.to_real(fourier.to_fourier(projection) * gaussian_transfer((box, box), sigma), width=box)
    u, place = np.linspace(0, 0.5, 300), np.linspace(-24, 24, 400)
    half = math.sqrt(2 * math.log(2)) / (2 * math.pi * sigma)
    figure, (picture, kernel, transfer) = plt.subplots(1, 3, figsize=(12, 3.4), width_ratios=(1, 1.2, 1.2))
    picture.imshow(blurred, cmap="gray", origin="lower")
    picture.set(xticks=[], yticks=[], title="blurred picture")
    kernel.plot(place, np.exp(-(place**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma), "C0")
    kernel.set(xlabel="x (pixels)", title=f"kernel: σ = {sigma:.1f} pixels", ylim=(0, 0.85))
    transfer.plot(u, np.exp(-2 * np.pi**2 * sigma**2 * u**2), "C3")
    transfer.plot([half, half, 0], [0, 0.5, 0.5], "0.6", ls=":")
    transfer.set(
        xlabel="u (cycles per pixel)",
        title=f"transfer function: σ = {1 / (2 * math.pi * sigma):.4f}",
        xlim=(0, 0.5),
        ylim=(0, 1.05),
    )
    return figure


dual = exploration(draw_blur, sigma=Slider(0.5, 8.0, 2.0, step=0.25, label="σ of the blur (pixels)"))
dual

# %% [markdown] tags=["blur"]
# *Figure U05.d. One slider, two views. A broad kernel (middle) is a narrow transfer function (right), and nothing but low frequencies passes. The dotted line marks half of the amplitude.*
#
# ### Exercise U05.6 · How hard is your filter?
#
# The transform of a Gaussian with standard deviation $\sigma$ pixels is a Gaussian with standard deviation $1/(2\pi\sigma)$ cycles per pixel. At which frequency, in cycles per pixel, does *your* blur leave **half** of the amplitude?

# %% tags=["blur"]
sigma = parameters("U05.6")["sigma"]
print(f"your blur has a standard deviation of {sigma} pixels")
# BEGIN SOLUTION
half_amplitude = math.sqrt(2 * math.log(2)) / (2 * math.pi * sigma)
# END SOLUTION
check("U05.6", half_amplitude)

# %% [markdown] tags=["solution", "blur"]
# With $H(u) = e^{-2\pi^2\sigma^2u^2}$, half of the amplitude is at $2\pi^2\sigma^2u^2 = \ln2$, that is, $u = \frac{\sqrt{2\ln 2}}{2\pi\sigma} = 0.1874/\sigma$.
#
# **The answer to the question.** Convolving with a broad Gaussian multiplies the spectrum by a *narrow* one: low frequencies pass, high ones are lost. A Gaussian blur *is* a Gaussian low-pass filter. In the same way the B-factor of U07, $e^{-Bk^2/4}$, is a blur with $\sigma = \sqrt{B/8\pi^2}$, and subtracting the blurred picture
# from the picture is a high-pass filter.

# %% tags=["blur"]
print(
    f"σ = 4 pixels: half of the amplitude is left at {math.sqrt(2 * math.log(2)) / (2 * math.pi * 4):.4f} cycles per pixel; σ of kernel times σ of filter = {1 / (2 * math.pi):.4f}"
)
b_factor = 200.0  # Å²
sigma_of_b = math.sqrt(b_factor / (8 * math.pi**2)) / pixel_size  # pixels
by_blur = fourier.to_real(fourier.to_fourier(projection) * gaussian_transfer((box, box), sigma_of_b), width=box)
by_b_factor = fourier.b_factor(projection, b_factor=b_factor, pixel_size=pixel_size)
print(
    f"B = {b_factor:.0f} Å² is a blur of {sigma_of_b * pixel_size:.2f} Å; the two differ by {float((by_blur - by_b_factor).abs().max()):.0e}"
)
assert torch.allclose(by_blur, by_b_factor, atol=1e-12)

# %% [markdown] tags=["blur"]
# <a id="Q-M04-4"></a>
# ## Where convolutions happen in cryo-EM
#
# *Be specific: what is being convolved, what is its functional form, and how many dimensions are involved?* That was the study group's demand. Seven processes, seven cards.
#
# | card | kernel | dimensions | where it is a convolution |
# |---|---|---|---|
# | A | a line, along which the picture moved during the exposure | 2 (a curve in the plane) | real space, by nature |
# | B | the transform of a disc: rings that fall off | 2 | Fourier space |
# | C | the transform of a soft-edged volume: a narrow peak, some $1/D$ wide | 3 | Fourier space |
# | D | a central peak with wide rings that change sign | 2 | real space; programs multiply in Fourier space |
# | E | a small, compact weight: triangle, or Kaiser–Bessel | 3 | Fourier space; undone by a division in real space |
# | F | a square, one unit wide | 2 | real space, by nature |
# | G | a reference image, *turned by 180°* | 2 | real space; programs multiply by the complex conjugate in Fourier space |
#
# ### Exercise U05.5 · The matching board
#
# Which card belongs to which process?

# %% tags=["blur"]
board = {
    "defocus and lens": "",
    "camera pixel": "",
    "drift during a frame": "",
    "template matching": "",
    "circular mask on a particle image": "",
    "putting a slice into the 3D transform": "",
    "mask on half maps before the FSC": "",
}
# BEGIN SOLUTION
board = dict(zip(board, "DFAGBEC", strict=True))
# END SOLUTION
check("U05.5", board)

# %% [markdown] tags=["solution", "blur"]
# | process | what is convolved with what | functional form | dimensions, space |
# |---|---|---|---|
# | defocus and lens (D) | the projected potential with the point spread function | inverse transform of the CTF $\sin\chi(\mathbf k)$ (U07) | 2, real space |
# | camera pixel (F) | the intensity with the pixel | $\Pi(x)\,\Pi(y)$; transfer function $\operatorname{sinc}u\,\operatorname{sinc}v$ (U08) | 2, real space |
# | drift (A) | each frame with its path | $\delta$ along a line of length $d$; transfer function $\operatorname{sinc}(\mathbf k\cdot\mathbf d)$ (U14) | 2, real space |
# | template matching (G) | the micrograph with the mirrored template: this is **correlation**, $\int f(\mathbf t)\,g(\mathbf t - \mathbf x)\,d\mathbf t$ (U16) | the template; factor $\overline{G}$ | 2, real space |
# | particle mask (B) | the particle's transform with that of the disc | $R\,J_1(2\pi Rk)/k$ | 2, Fourier space |
# | gridding (E) | the slice with the interpolation kernel (U21) | triangle ↔ $\operatorname{sinc}^2$ | 3, Fourier space |
# | FSC mask (C) | each half map's transform with the mask's: neighbouring shells mix, and *both* maps share the mixing (U24) | soft sphere | 3, Fourier space |
#
# And more: thermal motion (each atom with a Gaussian, 3-D), a finite source (the wave's tilt spread), local averaging in denoising. The easy one to miss is template matching, because its name is another. Correlation is convolution without the mirror.

# %% [markdown] tags=["blur"]
# Trust, but verify. First the lens: multiply by the CTF in Fourier space, or slide the point spread function over the picture, pixel by pixel.

# %% tags=["blur"]
small = fourier.resample(projection, 48)
optics = Optics(pixel_size=4.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
one = torch.ones(1, dtype=torch.float64)
defocus = Defocus(major=1.2e4 * one, minor=1.2e4 * one, azimuth=0 * one, phase_shift=0 * one)
transfer = microscope.contrast_transfer(optics, defocus, size=(48, 48))[0]
multiplied = fourier.to_real(fourier.to_fourier(small) * transfer, width=48)
point = torch.zeros(48, 48, dtype=torch.float64)
point[24, 24] = 1  # one bright pixel at the origin: what the lens makes of it is the point spread function
spread = fourier.to_real(fourier.to_fourier(point) * transfer, width=48)
stamped = torch.zeros(48, 48, dtype=torch.float64)
for row in range(48):
    for column in range(48):
        stamped += small[row, column] * torch.roll(spread, (row - 24, column - 24), (0, 1))
print(f"product with the CTF against {48 * 48} stamped point spread functions: {float((multiplied - stamped).abs().max()):.0e}")
assert float((multiplied - stamped).abs().max()) < 1e-10

# Then matching: cut a piece out of the projection and find it again.
template = torch.zeros(box, box, dtype=torch.float64)
template[36:60, 36:60] = (
    projection[36:60, 24:48] - projection[36:60, 24:48].mean()
)  # what lies 12 pixels to the left of the origin
score = fourier.to_real(fourier.to_fourier(projection) * fourier.to_fourier(template).conj(), width=box)
unmirrored = fourier.to_real(fourier.to_fourier(projection) * fourier.to_fourier(template), width=box)
found = divmod(int(score.argmax()), box)
print(f"correlation has its peak {found[1] - box // 2:+d} pixels from the origin along x and {found[0] - box // 2:+d} along y")
assert found == (box // 2, box // 2 - 12)

figure, panels = plt.subplots(1, 5, figsize=(14, 3))
for axes, (title, image) in zip(
    panels,
    {
        "object": small,
        "point spread function": spread,
        "image": multiplied,
        "correlation": score,
        "convolution instead": unmirrored,
    }.items(),
    strict=True,
):
    axes.imshow(image, cmap="gray", origin="lower")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
panels[3].plot(found[1], found[0], "r+", ms=12)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U05.e. Object, point spread function of a defocused lens and their convolution, the image. Right: a piece of the hinge is found again by correlation (red cross at the peak); forgetting the mirror, that is, convolving with the template, finds something else.*

# %% [markdown] tags=["sharpen"]
# ## Sharpen: the homework with pencil
#
# ### Exercise U05.3 · The transform
#
# Write $G(u)$ as a formula in `u` (with `i`, `pi`, `exp`, `sin`, …), and find the largest $|G|$ numerically, to four digits. Our transform has a minus in the exponent; should you prefer the other one, add `"exponent": "+"`.

# %% tags=["sharpen"]
homework = {"G": "", "largest": None}
# BEGIN SOLUTION
homework["G"] = "-2*i*sin(4*pi*u)*exp(-pi*u^2)"
axis = np.linspace(0, 1, 100001)
homework["largest"] = np.abs(2 * np.sin(4 * np.pi * axis) * np.exp(-np.pi * axis**2)).max()
# END SOLUTION
check("U05.3", homework)

# %% [markdown] tags=["solution", "sharpen"]
# $e^{-\pi x^2}$ transforms into $e^{-\pi u^2}$; a shift by $a$ multiplies by $e^{-2\pi iua}$. With $a=\pm2$,
# $$ G(u) = e^{-\pi u^2}\left(e^{-4\pi iu} - e^{4\pi iu}\right) = -2i\,\sin(4\pi u)\,e^{-\pi u^2}. $$
# **Trap T5, the sign.** With $e^{+2\pi iux}$ it is $+2i$. Neither is wrong, but a formula without its convention is. Hence the check asks you to declare the other one.

# %% [markdown] tags=["sharpen"]
# Now let others check us: a computer algebra system (term by term, since it does not like the difference), and a sum over samples, which is exact for functions this smooth (U04).

# %% tags=["sharpen"]
import sympy

position, frequency = sympy.symbols("x u", real=True)
terms = [
    sympy.fourier_transform(sign * sympy.exp(-sympy.pi * (position - shift) ** 2), position, frequency)
    for sign, shift in ((1, 2), (-1, -2))
]
formula = sum(terms)
expected = -2 * sympy.I * sympy.sin(4 * sympy.pi * frequency) * sympy.exp(-sympy.pi * frequency**2)
print("sympy:", formula)
assert sympy.simplify((formula - expected).rewrite(sympy.exp).expand()) == 0

samples = np.linspace(-8, 8, 1601)
g = np.exp(-np.pi * (samples - 2) ** 2) - np.exp(-np.pi * (samples + 2) ** 2)
u = np.linspace(-1.5, 1.5, 301)
numeric = np.exp(-2j * np.pi * np.outer(u, samples)) @ g * (samples[1] - samples[0])
exact = -2j * np.sin(4 * np.pi * u) * np.exp(-np.pi * u**2)
fine_u = np.linspace(0.1, 0.14, 40001)
size = 2 * np.sin(4 * np.pi * fine_u) * np.exp(-np.pi * fine_u**2)
print(
    f"sum over samples against the formula: {np.abs(numeric - exact).max():.0e}; largest |G| {size.max():.4f} at u = {fine_u[size.argmax()]:.4f}"
)
assert np.abs(numeric - exact).max() < 1e-10

# %% [markdown] tags=["sharpen"]
# <a id="Q-M04-2"></a>
# ## It does not matter who slides over whom
#
# *Since* $GH = HG$, *we should have* $g*h=h*g$. *Show it explicitly.*
#
# ### Exercise U05.4 · Five lines
#
# Begin with $\int_{-\infty}^{\infty} g(t)\,h(x-t)\,dt$ and give the argument of $h$ a name: $s = x-t$. Fill in, as formulas in `x`, `s` and with `g(...)`, `h(...)`:
#
# - `"t"`: $t$ in terms of $s$ and $x$;
# - `"dt/ds"`;
# - `"integrand"`: $g(t)\,h(x-t)$ in terms of $s$ and $x$;
# - `"sign from the bounds"`: as $t$ goes from $-\infty$ to $\infty$, $s$ goes from $+\infty$ to $-\infty$. What factor does turning the bounds round cost?
# - `"signs together"`: the product of all signs.

# %% tags=["sharpen"]
commutes = {"t": "", "dt/ds": "", "integrand": "", "sign from the bounds": "", "signs together": ""}
# BEGIN SOLUTION
commutes = {"t": "x - s", "dt/ds": "-1", "integrand": "g(x - s) * h(s)", "sign from the bounds": "-1", "signs together": "1"}
# END SOLUTION
check("U05.4", commutes)

# %% [markdown] tags=["solution", "sharpen"]
# $$ (g*h)(x) = \int_{-\infty}^{\infty} g(t)\,h(x-t)\,dt = \int_{+\infty}^{-\infty} g(x-s)\,h(s)\,(-ds) = \int_{-\infty}^{\infty} h(s)\,g(x-s)\,ds = (h*g)(x). $$

# %% [markdown] tags=["sharpen"]
# ### Trap: a numerical "counter-proof"
#
# Numbers, to be sure. Three Gaussians $f_a = e^{-ax^2}$ on a grid. On an **odd, symmetric** grid all is well; on an **even** one `np.convolve(..., mode="same")` quietly moves the result by half a sample at each step, and the value at 1 is wrong by a percent. This is trap T6.

# %% tags=["sharpen"]


def on_grid(count):
    """f1 * (f2 * f3) on a symmetric grid of this many samples over [-8, 8], and the swapped order."""
    grid = np.linspace(-8, 8, count)
    step = grid[1] - grid[0]
    first, second, third = (np.exp(-a * grid**2) for a in (1, 2, 3))

    def together(left, right):
        return np.convolve(left, right, mode="same") * step

    one_way = together(first, together(second, third))
    other_way = together(together(third, second), first)
    bracket = together(together(first, second), third)
    return grid, one_way, other_way, bracket


for count in (1601, 1600):
    grid, one_way, other_way, bracket = on_grid(count)
    at = [float(np.interp(value, grid, one_way)) for value in (0.0, 1.0)]
    truth = [math.pi / math.sqrt(11) * math.exp(-6 * value**2 / 11) for value in (0.0, 1.0)]
    print(
        f"{count} samples: at 0 and 1 {at[0]:.6f}, {at[1]:.6f} (closed form {truth[0]:.6f}, {truth[1]:.6f}); order swapped: {np.abs(one_way - other_way).max():.0e}"
    )
    if count % 2:
        assert np.abs(one_way - math.pi / math.sqrt(11) * np.exp(-6 * grid**2 / 11)).max() < 1e-12
        assert np.abs(one_way - other_way).max() < 1e-12
        assert np.abs(one_way - bracket).max() < 1e-12

# %% [markdown] tags=["sharpen"]
# The even grid has no sample at $x=0$: the origin lies *between* two. The full result of two even-sized arrays has an odd number of samples, and "same" must drop one on either side unequally. Commutativity does not suffer, the position does.
# In cryowalk the origin is the pixel $n//2$ for odd and even sizes alike, and only one file knows about it.
#
# <a id="Q-M05-2"></a>
# ## Nor does it matter which two come first
#
# *Let* $f_a = e^{-ax^2}$, $a>0$. *Show that* $f_1*(f_2*f_3) = (f_1*f_2)*f_3$; *note that* $\int e^{-ax^2}dx = \sqrt{\pi/a}$.
#
# ### Exercise U05.7 · Complete the square
#
# For general positive `a`, `b`, `c` write as formulas in `x`: $f_b*f_c$, then $f_a*(f_b*f_c)$, then $(f_a*f_b)*f_c$, and at last the case 1, 2, 3.

# %% tags=["sharpen"]
triple = {"f_b * f_c": "", "f_a * (f_b * f_c)": "", "(f_a * f_b) * f_c": "", "f_1 * f_2 * f_3": ""}
# BEGIN SOLUTION
triple["f_b * f_c"] = "sqrt(pi/(b + c)) * exp(-b*c/(b + c) * x^2)"
triple["f_a * (f_b * f_c)"] = "pi/sqrt(a*b + b*c + c*a) * exp(-a*b*c/(a*b + b*c + c*a) * x^2)"
triple["(f_a * f_b) * f_c"] = "pi/sqrt(a*b + b*c + c*a) * exp(-a*b*c/(a*b + b*c + c*a) * x^2)"
triple["f_1 * f_2 * f_3"] = "pi/sqrt(11) * exp(-6*x^2/11)"
# END SOLUTION
check("U05.7", triple)

# %% [markdown] tags=["solution", "sharpen"]
# The exponent of $f_b(t)f_c(x-t)$ is $-bt^2-c(x-t)^2 = -(b+c)\left(t-\frac{cx}{b+c}\right)^2 - \frac{bc}{b+c}x^2$. The square is integrated away whatever its centre, so
# $$ f_b*f_c = \sqrt{\tfrac{\pi}{b+c}}\; f_{bc/(b+c)} . $$
# In words: $1/a$ is the width that matters, $\frac{b+c}{bc} = \frac1b+\frac1c$: **variances add**. Once more, with $d = \frac{bc}{b+c}$:
# $$ f_a*(f_b*f_c) = \sqrt{\tfrac{\pi}{b+c}}\sqrt{\tfrac{\pi}{a+d}}\;f_{ad/(a+d)} = \frac{\pi}{\sqrt{ab+bc+ca}}\;\exp\!\Big(\!-\frac{abc}{ab+bc+ca}\,x^2\Big), $$
# which is symmetric in $a,b,c$. The other bracket gives the same with the letters exchanged, and that changes nothing. For 1, 2, 3 it is $\frac{\pi}{\sqrt{11}}e^{-6x^2/11}$; the odd grid above agrees to twelve digits. (For functions in general associativity follows from $F(GH) = (FG)H$.)
#
# Why you should care: specimen, lens, camera and drift blur one after the other, and associativity allows us to speak of *one* point spread function, one envelope, one B-factor.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M05-3"></a>
# ## The padding puzzle
#
# *The transform of a large image and that of a small kernel have different sizes, so how can we multiply them element by element?* We make the sizes equal **before** we transform: put the kernel into an array of zeros. That brings two new questions, and each has one right answer.
#
# - **How large?** An image of $N$ and a kernel of $M$ samples have a convolution of $N+M-1$ samples. An FFT lives on a circle. If the circle is shorter than that, the end of the result falls on its beginning. So: pad *both* with zeros to at least $N+M-1$.
# - **Where does the kernel go?** Its origin must lie at index 0 of the array, with the other half wrapped to the end (`np.roll`). If it stays in the middle of its little box, the whole result is moved.
#
# Zero padding adds no information; it samples the same transform at a finer spacing. Play until the error vanishes.

# %% tags=["sharpen"]
random = np.random.default_rng(5)
puzzle_signal = np.concatenate([[1.5, 1.2], 0.3 * random.normal(size=20) + 0.6, [1.0, 1.6]])
puzzle_kernel = np.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.15, 0.15])  # not symmetric; origin at its pixel 7 // 2 = 3


def convolve_on_circle(signal, kernel, length, *, rolled):
    """The product of two transforms of a given length, cut to the length of the signal."""
    field = np.zeros(length)
    field[: len(kernel)] = kernel
    if rolled:
        field = np.roll(field, -(len(kernel) // 2))
    return np.fft.irfft(np.fft.rfft(signal, n=length) * np.fft.rfft(field), n=length)[: len(signal)]


def draw_puzzle(padding, origin):
    """The sliding sum and the product of transforms for a choice of padding and origin."""
    reach = len(puzzle_kernel) // 2
    truth = np.convolve(puzzle_signal, puzzle_kernel)[reach : reach + len(puzzle_signal)]
    length = len(puzzle_signal) + padding
    found = convolve_on_circle(puzzle_signal, puzzle_kernel, length, rolled=origin == "rolled to index 0")
    figure, axes = plt.subplots(figsize=(8, 3.2))
    axes.plot(puzzle_signal, "0.8", marker=".", label="signal")
    axes.plot(truth, "k", lw=3, label="sliding sum")
    axes.plot(found, "C1.-", label="through Fourier space")
    wrong = np.abs(found - truth) > 1e-9
    axes.plot(np.flatnonzero(wrong), found[wrong], "C3o", ms=7, mfc="none", label="wrong")
    axes.set(
        xlabel="sample",
        title=f"{len(puzzle_signal)} samples + {padding} zeros, kernel of {len(puzzle_kernel)}: {wrong.sum()} values wrong",
        ylim=(0, 1.9),
    )
    axes.legend(fontsize=8, ncols=4, loc="upper center")
    return figure


puzzle = exploration(
    draw_puzzle,
    padding=Slider(0, 10, 0, label="zeros added"),
    origin=Choice(("rolled to index 0", "left in its box"), label="kernel's origin"),
)
puzzle

# %% [markdown] tags=["sharpen"]
# *Figure U05.f. The padding puzzle. Without padding, the values at both ends are wrong (red circles): they received what left at the other end.*
#
# You will notice that 3 zeros suffice here, not $M-1=6$. With fewer than $M-1$ the *full* result does overlap itself, but only in the part that we cut away. For all $N+M-1$ values you need all the zeros:

# %% tags=["sharpen"]
full_length = len(puzzle_signal) + len(puzzle_kernel) - 1
for length in (full_length, full_length - 1):
    product = np.fft.irfft(np.fft.rfft(puzzle_signal, n=length) * np.fft.rfft(puzzle_kernel, n=length), n=length)
    error = np.abs(product - np.convolve(puzzle_signal, puzzle_kernel)[:length]).max()
    print(f"circle of {length}: the full result is off by {error:.0e}")
    assert (error < 1e-12) == (length == full_length)

# %% [markdown] tags=["sharpen"]
# <a id="Q-M05-4"></a>
# ## Kernels and filters that share a name
#
# In the practical one can blur and sharpen with a kernel, or with a filter in Fourier space. *The two look the same for the Gaussian, different for the box, and very different for sharpening. What might be causing this?* The theorem says that they must agree, if they are the same thing. So they are not. (We do not have the practical's code before us; these are the suspects that fit the symptoms.)
#
# 1. **A shared name is not a shared function.** A box *kernel* has the transfer function $\frac{\sin 9\pi u}{9\sin\pi u}$ (for nine pixels): zeros, and side lobes where contrast is *reversed*. A box *filter* keeps everything up to a frequency and nothing beyond; its kernel rings for ever. Only the Gaussian is a Gaussian on both sides.
# 2. A sharpening *kernel* such as $\begin{pmatrix}0&-1&0\\-1&5&-1\\0&-1&0\end{pmatrix}$ keeps the mean and *amplifies* high frequencies. A "sharpening" or high-pass *filter* removes the low ones, with the mean. One shows a picture, the other the edges of it.
# 3. **Edges.** A sliding window usually sees zeros (or mirrored pixels) beyond the border; an FFT sees the opposite side.
# 4. **Display.** Each picture is stretched to its own black and white.

# %% tags=["sharpen"]
sharpening = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype=float)


def transfer_at(kernel, u, v):
    """The transfer function of a small kernel, origin at its middle, at (u, v) in cycles per pixel."""
    rows, columns = (np.arange(length) - length // 2 for length in kernel.shape)
    return (kernel * np.exp(-2j * np.pi * (u * columns[None, :] + v * rows[:, None]))).sum()


axis = np.linspace(1e-9, 0.5, 2001)
nine_box = np.sin(9 * np.pi * axis) / (9 * np.sin(np.pi * axis))
first_zero = axis[np.flatnonzero(nine_box < 0)[0]]
print(
    f"box of 9 pixels: first zero at {first_zero:.4f} cycles per pixel (1/9 = {1 / 9:.4f}), strongest side lobe {nine_box.min():.3f}"
)


def filtered(image, transfer):
    """The image with its spectrum multiplied."""
    return fourier.to_real(fourier.to_fourier(image) * transfer, width=image.shape[-1])


kx, ky = fourier.frequency_grid((box, box), pixel_size=1.0, dtype=torch.float64)
radius = torch.sqrt(kx**2 + ky**2)


def box_transfer(size):
    """The transfer function of a box kernel of size × size pixels."""

    def along(k):
        elsewhere = torch.where(k == 0, 0.1, k)  # any value but 0, where the limit is 1
        return torch.where(k == 0, 1.0, torch.sin(size * math.pi * elsewhere) / (size * torch.sin(math.pi * elsewhere)))

    return along(kx) * along(ky)


roads = {
    "Gaussian": (gaussian_transfer((box, box), 2.0), torch.exp(-2 * math.pi**2 * 4 * radius**2)),
    "box": (box_transfer(9), (radius < 1 / 18).double()),
    "sharpening": (5 - 2 * torch.cos(2 * math.pi * kx) - 2 * torch.cos(2 * math.pi * ky), (radius > 1 / 18).double()),
}
figure, panels = plt.subplots(3, 3, figsize=(9, 8.5), width_ratios=(1, 1, 1.3))
for row, (name, (kernel_road, filter_road)) in zip(panels, roads.items(), strict=True):
    for axes, transfer, title in zip(row, (kernel_road, filter_road), (f"{name} kernel", f"{name} filter"), strict=False):
        axes.imshow(filtered(projection, transfer), cmap="gray", origin="lower")
        axes.set(xticks=[], yticks=[], title=title)
    row[2].plot(kx, kernel_road[0], "C0", label="kernel")
    row[2].plot(kx, filter_road[0], "C1--", label="filter")
    row[2].axhline(0, color="0.8")
    row[2].legend(fontsize=8)
row[2].set(xlabel="u (cycles per pixel)")
figure.tight_layout()
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U05.g. The same name on two roads. Left: the kernel. Middle: the filter of that name. Right: the transfer functions along one axis. They agree only for the Gaussian.*
#
# The cure, and the proof that nothing is wrong with the theorem: use the *same* kernel, and the *same* edges.

# %% tags=["sharpen"]
from scipy import ndimage

picture = projection.numpy() + 0.2  # a background, so that the edges matter
periodic_sum = ndimage.convolve(picture, sharpening, mode="wrap")
zero_sum = ndimage.convolve(picture, sharpening, mode="constant")
through_fourier = filtered(torch.tensor(picture), roads["sharpening"][0]).numpy()
print(f"same kernel, same (periodic) edges: {np.abs(through_fourier - periodic_sum).max():.0e}")
print(
    f"same kernel, zeros outside:         {np.abs(through_fourier - zero_sum).max():.2f}, in the {int((np.abs(through_fourier - zero_sum) > 1e-9).sum())} pixels of the border"
)
assert np.abs(through_fourier - periodic_sum).max() < 1e-12

# %% [markdown] tags=["sharpen"]
# **Is Fourier space always quicker?** Count: sliding costs $N^2M^2$ products, the transforms about $N^2\log_2N^2$ whatever the kernel. So small kernels win directly, and large ones in Fourier space. (A kernel that is a product of a row and a column, like a Gaussian, needs only $2N^2M$.) Where they cross depends on the machine:

# %% tags=["sharpen"]


def best_time(task, *, repeats=3):
    """The shortest of several times of a call, s."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


large = random.normal(size=(256, 256))
kernel_sizes = (3, 5, 9, 15, 25, 35)
direct, separable, by_fourier = [], [], []
for size in kernel_sizes:
    row = np.ones(size) / size
    square = np.outer(row, row)
    padded = tuple(n + size - 1 for n in large.shape)
    direct.append(best_time(lambda k=square: ndimage.convolve(large, k, mode="constant"), repeats=1))
    separable.append(
        best_time(
            lambda k=row: ndimage.convolve1d(ndimage.convolve1d(large, k, axis=0, mode="constant"), k, axis=1, mode="constant")
        )
    )
    by_fourier.append(best_time(lambda k=square, s=padded: np.fft.irfft2(np.fft.rfft2(large, s=s) * np.fft.rfft2(k, s=s), s=s)))
figure, axes = plt.subplots(figsize=(7, 3.4))
for name, times in (("sliding sum", direct), ("row, then column", separable), ("through Fourier space", by_fourier)):
    axes.loglog(kernel_sizes, [1e3 * seconds for seconds in times], "o-", label=name)
axes.set(xlabel="width of the kernel (pixels)", ylabel="time (ms)", title="256 × 256 pixels")
axes.legend()
plt.show()
crossing = next((size for size, slow, fast in zip(kernel_sizes, direct, by_fourier, strict=True) if fast < slow), None)
print(f"here Fourier space wins from a kernel of about {crossing} × {crossing} pixels")

# %% [markdown] tags=["sharpen"]
# *Figure U05.h. The time of three roads against the width of the kernel, on the machine that made this page.*
#
# <a id="Q-M05-6"></a>
# ## All together: a projection, a low-pass filter, both roads
#
# *Code up a simple example of the convolution theorem in which you also do the convolution in real space. How close are they? What is the speed-up? Now make the kernel smaller: how good is that?*
#
# The picture is our projection, the kernel a Gaussian low-pass that leaves half of the amplitude at 20 Å. First the full kernel, as wide as the image; then cut at 4, 3 and 2 standard deviations and normalised again.

# %% tags=["sharpen"]
sigma = 20.0 * math.sqrt(2 * math.log(2)) / (2 * math.pi) / pixel_size  # pixels
picture = projection.numpy()


def gaussian_kernel(reach):
    """A Gaussian kernel of 2 reach + 1 pixels a side whose sum is 1."""
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    square = np.outer(line, line)
    return square / square.sum()


def product_road(image, kernel):
    """The convolution through Fourier space, padded, the kernel's origin at index 0."""
    size = [n + m - 1 for n, m in zip(image.shape, kernel.shape, strict=True)]
    field = np.zeros(size)
    field[: kernel.shape[0], : kernel.shape[1]] = kernel
    field = np.roll(field, [-(m // 2) for m in kernel.shape], axis=(0, 1))
    result = np.fft.irfft2(np.fft.rfft2(image, s=size) * np.fft.rfft2(field), s=size)
    return result[: image.shape[0], : image.shape[1]]


reference = product_road(picture, gaussian_kernel(47))
time_of_product = best_time(lambda: product_road(picture, gaussian_kernel(47)))
print(f"σ = {sigma:.2f} pixels = {sigma * pixel_size:.2f} Å; the product takes {1e3 * time_of_product:.1f} ms")
for name, reach in (("full", 47), ("4 σ", round(4 * sigma)), ("3 σ", round(3 * sigma)), ("2 σ", round(2 * sigma))):
    kernel = gaussian_kernel(reach)
    sliding = ndimage.convolve(picture, kernel, mode="constant")
    seconds = best_time(lambda k=kernel: ndimage.convolve(picture, k, mode="constant"), repeats=1)
    error = np.linalg.norm(sliding - reference) / np.linalg.norm(reference)
    print(
        f"sliding, {name:4s} {kernel.shape[0]:3d} × {kernel.shape[1]:<3d} {1e3 * seconds:7.1f} ms, relative difference {error:.0e}"
    )
    if name == "full":
        assert np.abs(sliding - reference).max() < 1e-12
for reach in (2, 3, 4):
    print(f"a one-dimensional Gaussian has {100 * math.erfc(reach / math.sqrt(2)):.4f} % of its mass beyond {reach} σ")

# %% [markdown] tags=["sharpen"]
# The roads agree to the last digits. Cutting at $3\sigma$ is what most image programs do: the loss is a fraction of a percent, and since the kernel is normalised again the error in the picture is about as small. At $2\sigma$
# the difference is close to a percent, and it is no longer noise-like: a kernel with a jump at its rim has a transfer function with side lobes.
#
# ### Exercise U05.8 · Both roads, by your own hand
#
# Three things, in one dictionary:
#
# - `"convolve"`: your function of `(image, kernel)` that convolves *through Fourier space* and equals the sliding sum with zeros outside, with the kernel's origin at its pixel $n//2$ along each axis; it returns an array of the image's size, for all sizes;
# - `"loss"`: how many *percent* of a one-dimensional Gaussian lie beyond $3\sigma$ (both sides);
# - `"sharpen"`: the transfer function of the sharpening kernel above at $(u,v)=(0,0)$, $(\tfrac12,0)$ and $(\tfrac12,\tfrac12)$ cycles per pixel.

# %% tags=["sharpen"]
mine = {}
# BEGIN SOLUTION
mine["convolve"] = product_road
mine["loss"] = 100 * math.erfc(3 / math.sqrt(2))
mine["sharpen"] = [transfer_at(sharpening, *place).real for place in ((0, 0), (0.5, 0), (0.5, 0.5))]
# END SOLUTION
check("U05.8", mine)

# %% [markdown] tags=["solution", "sharpen"]
# $H(u,v) = 5 - 2\cos2\pi u - 2\cos2\pi v$ is 1, 5 and 9 at the three places: the mean is kept, and a checkerboard of pixels, which in a cryo-EM image is nothing but noise, becomes nine times stronger. Sharpening is a fine thing *after* averaging. And the library's road, for comparison:

# %% tags=["sharpen"]
by_library = fourier.resize(filtered(fourier.resize(projection, 2 * box), gaussian_transfer((2 * box, 2 * box), sigma)), box)
print(
    f"cryowalk, padded twice, against the sliding sum: {float((by_library - torch.tensor(reference)).abs().max()):.0e} (the sampled Gaussian is not quite the Gaussian transfer function: aliasing, U04)"
)
assert float((by_library - torch.tensor(reference)).abs().max()) < 1e-6

# %% [markdown]
# ## In your own words
#
# Somebody blurs a map with a broad Gaussian and wonders why the program calls it a low-pass filter. What do you say?

# %%
# BEGIN SOLUTION
my_text = (
    "A convolution here is a multiplication there. The broad Gaussian becomes a narrow one in Fourier space, and multiplying with it lets low "
    "frequencies pass and removes high frequencies."
)
# END SOLUTION
explain("U05.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Low-pass a map to 15 Å with a hard cut and with a soft edge, and look at the solvent. Ringing is a kernel that you did not know you had chosen.
#
# ```python
# import cryowalk as cw
#
# volume = cw.read("run_class001.mrc")
# for edge in (0.0, 2.0, 8.0):  # in Fourier shells
#     soft = cw.fourier.low_pass(volume.voxels, resolution=15, pixel_size=volume.voxel_size, dimensions=3, edge=edge)
#     print(edge, float(soft.min() / soft.max()))  # how deep does the ringing go?
# ```
#
# And in your own processing: which masks do you apply, and in which space do they convolve?
#
# ## Further reading
#
# - F. J. Sigworth, *Fourier transform: convolution, sampling and Nyquist*, lecture in *Cryo-EM Principles* (Yale). The pre-reading of the study group; the homework is from there.
# - A. J. Jakobi, *High-resolution imaging*, practical 1, *Convolutions* (TU Delft). The practical that the questions refer to.
# - R. N. Bracewell, *The Fourier Transform and Its Applications*, 3rd ed., McGraw-Hill (2000), chapters 3 and 6.
# - S. W. Smith, *The Scientist and Engineer's Guide to Digital Signal Processing* (1997), chapters 6 and 18: both views of convolution, and the overlap-add method for very long signals.
# - G. Harauz, M. van Heel, *Exact filters for general geometry three dimensional reconstruction*, Optik 73, 146–156 (1986). Filters and the shell correlation, where masks mix shells.
#
# **Next:** U06, what sampling forgets, and how to undo a convolution, or fail to.
