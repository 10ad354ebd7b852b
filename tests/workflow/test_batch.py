import pytest

from cryowalk.core.errors import InputError
from cryowalk.workflow.batch import Failure, raise_failures, stems


def test_short_names_are_bare_unless_two_would_be_the_same():
    assert stems(["a/x.mrc", "b/y.tiff"]) == ("x", "y")
    assert stems(["a/x.mrc", "b/x.mrc", "../c/z.mrc"]) == ("a_x", "b_x", "z")
    assert len(set(stems(["/d/a/x.mrc", "d/b/x.mrc", "x.tif"]))) == 3
    with pytest.raises(InputError, match="twice"):
        stems(["a/x.mrc", "a/x.mrc"])


def test_failures_are_told_together(tmp_path):
    raise_failures((), total=3, output=tmp_path)
    failed = tuple(Failure(name=f"m{n}", reason=f"m{n}: cut off") for n in range(8))
    with pytest.raises(InputError) as caught:
        raise_failures(failed, total=1000, output=tmp_path)
    told = str(caught.value)
    assert "8 of 1000 files" in told
    assert "m4: cut off" in told
    assert "m5: cut off" not in told
    assert "3 more" in told
