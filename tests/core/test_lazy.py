"""Modules that are imported when they are used, or while something else is done."""

import importlib
import sys

import pytest

from cryowalk.core.lazy import loaded_meanwhile


def test_a_module_is_loaded_while_something_else_is_done(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with loaded_meanwhile("colorsys"):
        pass
    assert "colorsys" in sys.modules


def test_an_error_in_the_block_is_the_one_that_is_told():
    with pytest.raises(ZeroDivisionError), loaded_meanwhile("colorsys"):
        raise ZeroDivisionError


def test_a_module_that_is_missing_is_told_where_it_is_used():
    with loaded_meanwhile("no_such_module_anywhere"):
        pass
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
