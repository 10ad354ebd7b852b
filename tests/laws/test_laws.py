"""Every registered operator against every law that it claims."""

from dataclasses import replace

import pytest
import torch

from .registry import Operator, Setting, all_operators, example, hermitian, inner_product

CASES = [pytest.param(operator, size, id=f"{operator.name} {size}") for operator in all_operators() for size in operator.sizes]
every_operator = pytest.mark.parametrize(("operator", "size"), CASES)


def scale_of(*tensors):
    return max(1.0, *(tensor.abs().max().item() for tensor in tensors))


@every_operator
def test_linear(operator: Operator, size):
    if not operator.is_linear:
        pytest.skip("not a linear operator")
    setting = Setting(size=size)
    apply, x, y = operator.build(setting), example(operator, setting, seed=1), example(operator, setting, seed=2)
    left, right = apply(2.5 * x - 0.7 * y), 2.5 * apply(x) - 0.7 * apply(y)
    torch.testing.assert_close(left, right, rtol=0, atol=operator.tolerance * scale_of(left, right))


@every_operator
def test_adjoint(operator: Operator, size):
    """⟨A x, y⟩ = ⟨x, A' y⟩ in the inner products of real space."""
    if operator.adjoint is None:
        pytest.skip("has no adjoint of its own")
    setting = Setting(size=size)
    x = example(operator, setting, seed=1)
    forward = operator.build(setting)(x)
    y = setting.like(tuple(forward.shape), seed=5)
    if operator.output == "spectrum":
        y = hermitian(torch.complex(y, setting.like(tuple(forward.shape), seed=6)), size=operator.output_size(size))
    backward = operator.adjoint(setting)(y)
    left = inner_product(forward, y, size=operator.output_size(size))
    right = inner_product(x, backward, size=size)
    assert left == pytest.approx(right, rel=operator.tolerance, abs=operator.tolerance * scale_of(forward) * x.numel())


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_equals_singles(operator: Operator, size, dtype):
    if not operator.has_batch:
        pytest.skip("takes one thing at a time")
    setting = Setting(size=size, dtype=dtype)
    apply, stack = operator.build(setting), example(operator, setting, seed=1, batch=(2, 3))
    together = apply(stack)
    single = torch.stack([torch.stack([apply(item) for item in row]) for row in stack])
    torch.testing.assert_close(together, single)


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_unchanged_and_dtype_and_device_kept(operator: Operator, size, dtype):
    setting = Setting(size=size, dtype=dtype)
    x = example(operator, setting, seed=1)
    before = x.clone()
    result = operator.build(setting)(x)
    assert torch.equal(x, before), "the argument was changed"
    assert result.real.dtype == dtype
    assert result.is_complex() == (operator.output == "spectrum")
    assert result.device == x.device
    result.zero_()
    assert torch.equal(x, before), "the result shares memory with the argument"


@every_operator
def test_single_precision_is_near_double(operator: Operator, size):
    """The compiled single-precision paths against the written-out double-precision ones."""
    double, single = Setting(size=size), Setting(size=size, dtype=torch.float32)
    expected = operator.build(double)(example(operator, double, seed=1))
    result = operator.build(single)(example(operator, single, seed=1))
    assert (result.to(expected.dtype) - expected).abs().max().item() < 2e-5 * scale_of(expected)


@every_operator
def test_gradient(operator: Operator, size):
    if not operator.has_gradient:
        pytest.skip("outside autograd")
    setting = Setting(size=size)
    x, apply = example(operator, setting, seed=1), operator.build(setting)
    if x.is_complex():  # only changes that keep the array real are meant
        real = setting.like((*operator.batch, *size), seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda r: apply(torch_spectrum(r, size)), (real,), fast_mode=True)
        return
    assert torch.autograd.gradcheck(apply, (x.requires_grad_(),), fast_mode=True)


def torch_spectrum(real, size):
    from cryowalk.fourier.transform import to_fourier

    return to_fourier(real, dimensions=len(size))


@every_operator
def test_cuda_equals_cpu(operator: Operator, size):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: the GPU half of this law was not tested")
    for dtype, bound in ((torch.float32, 2e-5), (torch.float64, 1e-10)):
        here = Setting(size=size, dtype=dtype)
        there = replace(here, device="cuda")
        expected = operator.build(here)(example(operator, here, seed=1))
        result = operator.build(there)(example(operator, here, seed=1).to("cuda"))
        assert result.device.type == "cuda"
        assert (result.cpu() - expected).abs().max().item() < bound * scale_of(expected)
