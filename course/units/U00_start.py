# %% [markdown]
# # U00 Start here: tools, habits, self-test
#
# **Question.** How do these notebooks work, and what should you know before the first electron leaves the gun?
#
# **What you need.** A running notebook, a pencil, and forty-five minutes. No cryo-EM yet.
#
# **What you will be able to do.**
#
# - run a unit, commit to a prediction, check an answer, ask for a hint, start an exercise again;
# - tell which parts of your mathematics and physics are worth a refresher, and find one;
# - read a complex number as an arrow, which is all that the Fourier transform will ask of you;
# - say what makes a good check, and write one (*sharpen*).

# %% [markdown]
# <a id="H00"></a>
# ## The walk
#
# In a cryo-electron microscope a beam of fast electrons crosses a thin film of glassy ice in which copies of a molecule are frozen, each turned
# another way. A lens forms an image of what comes out, a camera counts the electrons. The dose that a molecule survives is so small that one
# picture of it is mostly noise. From a hundred thousand such pictures we want the molecule in three dimensions.
#
# That is a computational problem from end to end, and this course takes it in the order of the electron and then of the data:
#
# 1. **The picture is made.** Electrons, specimen, lens, camera: what does the image show, and what has it lost? (U01, U02, U07 to U12)
# 2. **The language.** Waves, convolution, sampling: the mathematics in which all of it becomes short. (U03 to U06)
# 3. **From movies to particles.** Undo the motion, measure the defocus, find the molecules. (U13 to U16)
# 4. **From particles to a map.** Which way was each molecule turned, and what do they look like together? (U17 to U22)
# 5. **How much of it is true?** Resolution, masks, sharpening, bias. (U23, U24)
# 6. **Molecules that move, and molecules inside cells.** Heterogeneity and tomography. (U25 to U28)
# 7. **All of it at once.** One command and one notebook take a simulated beam to a validated map. (U29)
#
# The map below has a box for each stretch of the way. The boxes' entries are links: a click opens the unit, where it exists already.

# %%
import cmath
import math

import matplotlib.pyplot as plt
import numpy as np

from cryowalk.course import Slider, check, explain, exploration, hints, predict, prediction, progress_board, unit_map

unit_map()

# %% [markdown]
# ## How a unit works
#
# **Two streams.** Parts marked *blur* need no programming: pictures, sliders, a number here and there. Parts marked *sharpen* derive, program and
# try to break things. Blurred and sharpened maps are both useful, and so are both streams: take either, change over whenever you like, and nobody
# is keeping score. The blur path never depends on a sharpen cell.
#
# **Cells.** Run them from top to bottom with *Shift + Enter*. An exercise cell holds a line `raise NotImplementedError(...)`. Replace that line by
# your own code; the line `check(...)` at the end of the cell then tells you how it went.
#
# **Predict, then run.** Before most experiments you are asked to guess. The guess is stored and the next cell opens. It is never graded. A wrong
# guess that you remember making is worth more than ten right results that you nodded at.
#
# **Checks and hints.** A failed check says what kind of mistake it sees and gives a hint; each further attempt brings a stronger one. The
# answer itself is never shown. `hints("U00.1")` repeats the hints that you have earned. Solutions are folded on the course's web page, and
# `cryowalk course open U00 --solved` makes a copy with all of them.
#
# **Where it is kept.** Your progress is one small text file in your own data folder; nothing leaves your machine. `cryowalk course progress`
# shows it, and so does this board (● passed, ◐ tried, ○ not yet):

# %%
progress_board()

# %% [markdown]
# Let us do the first one together: a prediction, an experiment, a check.

# %% [markdown] tags=["blur"]
# ## A complex number is an arrow
#
# A complex number $z = x + iy$ is an arrow in the plane, from the origin to the point $(x, y)$. It has a length, the **modulus** $|z|$, and a
# direction, the **phase** $\varphi$, counted counter-clockwise from the $x$ axis. Multiplying two complex numbers multiplies their lengths and
# *adds their phases*. That one sentence is why they are so good at waves.
#
# An arrow of length one is called a **phasor**:
# $$e^{i\theta} = \cos\theta + i\sin\theta .$$
# As $\theta$ grows, its tip walks around the unit circle. Its shadow on the $x$ axis is a cosine, its shadow on the $y$ axis a sine.

# %% [markdown] tags=["blur"]
# ### Exercise U00.1 · Where does the phasor point?
#
# Without running anything: where is the tip of $e^{i\theta}$ at $\theta = 3\pi/4$? Write its coordinates as `(x, y)`, to two digits or better.
# A sketch on paper is the right tool.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_tip = (-0.707, 0.707)
# END SOLUTION
predict("U00.1", my_tip)

# %% [markdown] tags=["blur"]
# Now turn the dial.


# %% tags=["blur"]
def draw_phasor(theta):
    """The phasor at an angle, its two shadows, and the waves that they trace."""
    figure, (dial, waves) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 1.6))
    circle = np.linspace(0, 2 * np.pi, 200)
    dial.plot(np.cos(circle), np.sin(circle), color="0.8")
    x, y = np.cos(theta), np.sin(theta)
    dial.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "lw": 2, "color": "k"})
    dial.plot([x, x], [0, y], "C1:")
    dial.plot([0, x], [0, 0], "C0", lw=4, alpha=0.6)
    dial.plot([0, 0], [0, y], "C1", lw=4, alpha=0.6)
    dial.set(
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
        aspect="equal",
        xlabel="real part",
        ylabel="imaginary part",
        title=f"tip at ({x:.3f}, {y:.3f})",
    )
    angles = np.linspace(0, 4 * np.pi, 400)
    waves.plot(angles / np.pi, np.cos(angles), "C0", label="real part: cos θ")
    waves.plot(angles / np.pi, np.sin(angles), "C1", label="imaginary part: sin θ")
    waves.plot([theta / np.pi] * 2, [x, y], "ko")
    waves.axvline(theta / np.pi, color="0.7")
    waves.set(xlabel="θ / π", ylim=(-1.2, 1.7), title=f"θ = {theta / np.pi:.3f} π")
    waves.legend(loc="upper right", ncols=2)
    return figure


my_tip = prediction("U00.1")
dial = exploration(draw_phasor, theta=Slider(0.0, 4 * math.pi, math.pi / 3, step=math.pi / 24, label="angle θ (rad)"))
dial

# %% [markdown] tags=["blur"]
# *Figure U00.a. The phasor dial. Left: the arrow $e^{i\theta}$ with its shadows on the two axes. Right: the same two shadows as functions of the
# angle. After a full turn ($2\pi$) everything repeats.*
#
# Did the arrow point where you thought? If not, put the new answer into the cell above, run it again, and then check:

# %% tags=["blur"]
check("U00.1", prediction("U00.1"))

# %% [markdown] tags=["blur"]
# ### Exercise U00.2 · From the plane to length and angle
#
# What are the modulus and the phase of $3 + 4i$? Give the phase in radians. Work it out from $x$ and $y$ first.

# %% tags=["blur"]
# BEGIN SOLUTION
x, y = 3.0, 4.0
modulus = math.sqrt(x**2 + y**2)
phase = math.atan2(y, x)
# END SOLUTION
check("U00.2", (modulus, phase))

# %% [markdown] tags=["blur"]
# Python knows complex numbers, and writes $i$ as `1j`. The library functions must agree with what you did by hand, and multiplying must add the
# phases. A claim in this course is followed by a line like these, which would stop the notebook if the claim were false:

# %% tags=["blur"]
z, w = 3 + 4j, cmath.exp(1j * math.pi / 6)
assert math.isclose(abs(z), 5)
assert math.isclose(cmath.phase(z * w), cmath.phase(z) + cmath.phase(w))
assert math.isclose(abs(z * w), abs(z) * abs(w))
print(f"|z| = {abs(z):g}, phase of z = {cmath.phase(z):.4f} rad = {math.degrees(cmath.phase(z)):.2f}°")

# %% [markdown] tags=["blur"]
# Two habits that save hours later:
#
# - **`arctan2(y, x)`, never `arctan(y / x)`.** The quotient forgets the quadrant: $-3-4i$ and $3+4i$ have the same $y/x$, but point in opposite
#   directions.
# - **Radians inside, degrees at the door.** Every function of cryowalk that takes an angle takes radians. Degrees appear in files and on the
#   command line, and the name then says so (`tilt_degrees`).

# %% tags=["blur"]
for number in (3 + 4j, -3 - 4j):
    quotient = math.atan(number.imag / number.real)
    print(f"{number}: arctan(y/x) = {quotient:+.3f} rad, arctan2(y, x) = {math.atan2(number.imag, number.real):+.3f} rad")

# %% [markdown] tags=["blur"]
# ## Self-test
#
# Fifteen short questions: five topics of first-year mathematics, eight that are worth a refresher if it has been a while, and two of physics.
# Answer from the hip with a letter, or `"?"`. Nothing is graded. The point is to learn which of the refreshers below deserve ten minutes of your time.
#
# | topic | question | a | b | c | d |
# |---|---|---|---|---|---|
# | calculus | $\iint e^{-\pi(x^2+y^2)}\,dx\,dy$ over the whole plane | $1$ | $\pi$ | $\sqrt\pi$ | it diverges |
# | trigonometry | $\sin a\cos b + \cos a\sin b$ | $\sin(a-b)$ | $\cos(a+b)$ | $\sin(a+b)$ | $\sin a \sin b$ |
# | linear algebra | a real $3\times3$ matrix with $R^\mathsf{T}R = 1$ and $\det R = +1$ | a projection | a rotation | a mirror | a shear |
# | statistics | the mean of 100 independent readings, each with standard deviation 5, has standard deviation | 5 | 0.5 | 0.05 | 50 |
# | summation | $\sum_{k=0}^{n-1} r^k$ for $r \ne 1$ | $n r$ | $r^n$ | $\frac{1}{1-r}$ | $\frac{1-r^n}{1-r}$ |
# | derivatives | $\frac{d}{dx}\,x^2\sin x$ | $2x\cos x$ | $x^2\cos x$ | $2x\sin x + x^2\cos x$ | $2x\sin x - x^2\cos x$ |
# | chain rule | $\frac{d}{dx}\,e^{-\pi x^2}$ | $-2\pi x\,e^{-\pi x^2}$ | $e^{-2\pi x}$ | $-\pi x^2 e^{-\pi x^2}$ | $-2\pi\,e^{-\pi x^2}$ |
# | integrals | $\int_{-1/2}^{1/2}\cos(2\pi u x)\,dx$ | $\sin(\pi u)$ | $0$ | $2\pi\sin(\pi u)$ | $\frac{\sin \pi u}{\pi u}$ |
# | series | $e^{i\varphi}$ for small $\varphi$, to second order | $1 + \varphi$ | $1 + i\varphi - \varphi^2/2$ | $1 + i\varphi + \varphi^2/2$ | $1 - i\varphi$ |
# | vectors | the vectors $(1,2,2)$ and $(2,1,-2)$ are | perpendicular | parallel | opposite | at 60° |
# | probability | $P(A\text{ and }B)=0.1$, $P(B)=0.4$; $P(A\mid B)$ is | 0.04 | 0.5 | 0.25 | 0.1 |
# | combinations | ways to choose 2 of 10 particles | 20 | 45 | 90 | 100 |
# | random variables | the variance of $2X + 3$ | $2\,\mathrm{Var}X$ | $2\,\mathrm{Var}X + 3$ | $4\,\mathrm{Var}X + 3$ | $4\,\mathrm{Var}X$ |
# | modern physics | the wavelength of a 300 keV electron is about | 2 pm | 2 Å | 2 nm | 0.5 µm |
# | the specimen | water is frozen so fast that no crystals form because | ice crystals melt in the beam | crystals are opaque to electrons | crystals displace and distort the molecules, and diffract strongly | glassy ice is colder |
#
# ### Exercise U00.3 · Where do you stand?

# %% tags=["blur"]
topics = ["calculus", "trigonometry", "linear algebra", "statistics", "summation", "derivatives", "chain rule", "integrals"]
topics += ["series", "vectors", "probability", "combinations", "random variables", "modern physics", "the specimen"]
# Write fifteen letters, in the order of the table: my_letters = "a?c..."
# BEGIN SOLUTION
my_letters = "acbbdcadbacbdac"
# END SOLUTION
my_answers = dict(zip(topics, my_letters, strict=True))
check("U00.3", my_answers)

# %% [markdown] tags=["blur"]
# ### Refreshers
#
# One paragraph each, with the reason why it matters here. For more, the study group whose syllabus this course grew from recommends the units of
# [Khan Academy](https://www.khanacademy.org/math) on derivatives (definition and basic rules; chain rule and other advanced topics), integrals,
# series, linear algebra, probability, counting, permutations and combinations, and random variables.
#
# - **Calculus.** A multiple integral is done one variable at a time when the integrand is a product. Projections are integrals along one axis, so
#   you will do this often: $e^{-\pi(x^2+y^2)} = e^{-\pi x^2}e^{-\pi y^2}$, and each factor integrates to one.
# - **Trigonometry.** The addition theorems are the statement $e^{i(a+b)} = e^{ia}e^{ib}$, read part by part. If you remember the right-hand side, you
#   never need to remember a theorem again.
# - **Linear algebra.** A matrix says where the axes go: its columns are the images of $(1,0,0)$, $(0,1,0)$, $(0,0,1)$. Orientations of molecules are such matrices
#   (U19).
# - **Statistics.** Independent errors add in *variance*; so the mean of $n$ readings is $\sqrt n$ times better than one. It is the reason why averaging
#   noisy pictures works at all.
# - **Summation.** $\sum$ is a loop that adds. The geometric sum is the one you will meet again: it shows that waves of different frequency on a grid
#   do not overlap (U04).
# - **Derivatives.** Product rule: $(fg)' = f'g + fg'$. Refinement follows derivatives downhill.
# - **Chain rule.** The derivative of the outside at the inside, times the derivative of the inside. Neural networks are this rule, many times (U26).
# - **Integrals.** An integral over a box of a cosine gives $\sin(\pi u)/(\pi u)$, the *sinc*, the shadow that every sharp edge throws in Fourier space.
# - **Series.** $e^x = 1 + x + x^2/2 + \dots$ The picture of a thin specimen keeps the first two terms, and it is worth knowing what the third would do
#   (U02).
# - **Vectors.** The scalar product is zero exactly for perpendicular vectors: $1\cdot2 + 2\cdot1 - 2\cdot2 = 0$. Correlating two pictures is a
#   scalar product of very long vectors.
# - **Probability.** $P(A\mid B) = P(A\text{ and }B)/P(B)$. Everything from U17 on is this line.
# - **Combinations.** $n$ things pair up in $n(n-1)/2$ ways: comparing every particle with every other soon becomes too much.
# - **Random variables.** Shifting does not change a variance, scaling by $a$ multiplies it by $a^2$. Normalising particle images is both.
# - **Modern physics.** A particle of momentum $p$ has the wavelength $h/p$. At 300 kV an electron runs at more than three quarters of the speed of light, so its
#   momentum is the relativistic one (U01). The wavelength is a hundred times smaller than an atom; it is not what limits the resolution.
# - **The specimen.** Frozen within milliseconds, water becomes a glass and holds the molecules as they were in solution. Slower cooling grows crystals
#   that push the molecules aside and scatter the beam into bright spots. The 2017 Nobel lectures of Jacques Dubochet, Joachim Frank and Richard
#   Henderson ([nobelprize.org](https://www.nobelprize.org/prizes/chemistry/2017/summary/)) are the best introduction to what happens to the
#   sample at room temperature, in the ice and in the beam.

# %% [markdown] tags=["sharpen"]
# ## Sharpen: what a check is made of
#
# ### Exercise U00.4 · Rotations in disguise
#
# Multiplying $x + iy$ by $e^{ia}$ turns the arrow by $a$. Write the same thing for a column $(x, y)$: a function that returns the real $2 \times 2$
# matrix $R(a)$. The check draws twenty random pairs of angles and looks at $R(a)R(b) = R(a+b)$, to $10^{-12}$.


# %% tags=["sharpen"]
def rotation(angle):
    """The 2 × 2 matrix that does to (x, y) what multiplication by e^{i angle} does to x + iy."""
    # BEGIN SOLUTION
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # END SOLUTION


check("U00.4", rotation)

# %% [markdown] tags=["sharpen"]
# The product law alone would not have been enough. It also holds for matrices that turn the other way round, $R(-a)$. A check has to test
# *everything* that makes the answer right, and the best way to find out is to try wrong answers on it. Each check of this course comes with at
# least two known wrong answers that it must refuse. They are tested together with the course.


# %% tags=["sharpen"]
def other_way_round(angle):
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


a, b = 0.3, 1.1
assert np.allclose(other_way_round(a) @ other_way_round(b), other_way_round(a + b))  # the law holds ...
turned = other_way_round(a) @ [1, 0]
assert not np.allclose(turned, [np.cos(a), np.sin(a)])  # ... and yet it is not e^{ia}
print("R(a) R(b) = R(a + b) holds, but (1, 0) goes to", np.round(turned, 3), "and not to", np.round([np.cos(a), np.sin(a)], 3))

# %% [markdown] tags=["sharpen"]
# ### Exercise U00.5 · A check that is too strict
#
# Somebody wrote a check for a number like this:
#
# ```python
# def is_right(answer, expected):
#     return answer == expected
# ```
#
# It refuses `0.1 + 0.2` where `0.3` is expected: neither number is exact in binary, and the two round differently. Repair it, so that it accepts round-off
# and refuses 0.3001. It should work for a dose rate in the hundreds of millions and for a wavelength in metres as well.


# %% tags=["sharpen"]
print(f"0.1 + 0.2 - 0.3 = {0.1 + 0.2 - 0.3:.2e}")


def is_right(answer, expected):
    """Whether the answer is the expected number, but for round-off."""
    # BEGIN SOLUTION
    return abs(answer - expected) <= 1e-9 * abs(expected)
    # END SOLUTION


check("U00.5", is_right)

# %% [markdown] tags=["solution", "sharpen"]
# Floating-point numbers in double precision carry about sixteen digits, so a few operations leave a *relative* error of some $10^{-16}$. A relative
# tolerance of $10^{-9}$ is far above that and far below the $3 \cdot 10^{-4}$ of the wrong answer. The absolute value matters: without it, every answer
# that is too small passes. When the expected value can be zero, add an absolute tolerance of the size that *means nothing* in the problem at hand;
# `math.isclose(answer, expected, rel_tol=…, abs_tol=…)` has both.

# %% [markdown] tags=["sharpen"]
# ### Write one yourself
#
# Good exercises are always wanted: they test understanding, not typing. One exercise is an entry in a unit's `checks` module: a sentence, a check,
# three hints from gentle to nearly there, and two wrong answers with the name of the mistake. This one passes for the reciprocal of your number:

# %% tags=["sharpen"]
from cryowalk.course.exercise import number_check, property_check

reciprocal = number_check(lambda seed: 1 / (seed + 1), relative=1e-6)
print("seed 3, answer 0.25 :", reciprocal(0.25, 3))
print("seed 3, answer -0.25:", reciprocal(-0.25, 3))
print("seed 3, answer 250  :", reciprocal(250, 3))


def keeps_length(function, seed):
    """None where the learner's function keeps lengths, else what to tell the learner."""
    vector = np.random.default_rng(seed).normal(size=2)
    return None if np.isclose(np.linalg.norm(function(vector)), np.linalg.norm(vector)) else "Your function changes the length."


print("a rotation :", property_check(keeps_length)(lambda v: rotation(1.0) @ v, 7))
print("a scaling  :", property_check(keeps_length)(lambda v: 2 * v, 7))
assert reciprocal(0.25, 3).passed
assert not reciprocal(-0.25, 3).passed

# %% [markdown] tags=["sharpen"]
# `docs/guide/course.md` in the repository tells the rest: how to write a unit, an exercise, a slider, and how they are tested. Questions about a
# unit, and proposals for better ones, are welcome where the repository keeps its issues; say which unit, what you expected and what you saw.

# %% [markdown]
# ## In your own words
#
# Every unit ends like this. Write two or three sentences; they are stored for you, and you then see which ideas others would have mentioned. **Why is it
# worth predicting before you run a cell?**

# %%
# BEGIN SOLUTION
my_text = "Because you commit to a picture first, and a surprise then shows what was wrong with it."
# END SOLUTION
explain("U00.words", my_text)

# %% [markdown]
# `hints("U00.2")` shows your hints again. `from cryowalk.course import reset`, then `reset("U00.2")`, forgets your attempts at one exercise, so that you can start afresh, and `reset("U00")` those of a whole
# unit; run its cell again afterwards. An exercise that you have passed otherwise stays passed.

# %%
print(hints("U00.2"))
progress_board()

# %% [markdown]
# ## What to try on your own data
#
# - Run `cryowalk doctor` in a terminal: it tells what your installation can do.
# - Run `cryowalk inspect` on any file of your last processing project, a STAR file or a map. Which of the words that it prints could you explain to
#   a colleague? The units to come are for the others.
#
# ## Further reading
#
# - F. J. Sigworth, *Principles of cryo-EM single-particle image processing*, Microscopy 65, 57–67 (2016). The whole of the walk in ten pages; his
#   video lectures *Cryo-EM Principles* (Yale) follow the same order as U02 to U09.
# - G. J. Jensen, *Getting Started in Cryo-EM*: fourteen hours of lectures from the gun to the map, with questions after each.
# - A. Jakobi, practicals of the course *High-Resolution Imaging* (TU Delft): image processing with sliders.
# - Y. Cheng, N. Grigorieff, P. A. Penczek, T. Walz, *A primer to single-particle cryo-electron microscopy*, Cell 161, 438–449 (2015).
# - D. Goldberg, *What every computer scientist should know about floating-point arithmetic*, ACM Computing Surveys 23, 5–48 (1991), for U00.5.
#
# **Next:** [U03 The Fourier transform in one dimension](U03_fourier_1d.ipynb).
