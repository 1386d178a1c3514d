"""Values as strict JSON text.

A value is an object with a "type" and one key per field; "format" stands at the outermost level only. Floats are shortest round-trip
decimals; a number that is not finite is the string "inf", "-inf" or "nan", read back as a number only where the field is a number.
"""

import base64
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Mapping

import numpy as np

from .files import write_whole

__all__ = ["FORMAT", "decode", "encode", "from_json", "load", "parse", "save", "to_json"]

FORMAT = "scoresde/1"
LONG = 1000  # arrays of more numbers than this are written as base64
NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


# ---- fields: a pair (write, read) each ------------------------------------------------------------------------------------------------


def _write_number(x):
    x = float(x)
    return x if math.isfinite(x) else str(x)


def _read_number(x):
    if isinstance(x, str) and x in NOT_FINITE:
        return NOT_FINITE[x]
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise ValueError(f'got {_brief(x)}, allowed is a number, or "inf", "-inf", "nan"')
    try:
        return float(x)
    except OverflowError:
        raise ValueError(f"got an integer of {len(str(x))} digits, allowed are numbers up to {sys.float_info.max:.3g}") from None


def _write_array(x):
    if not isinstance(x, (np.ndarray, np.generic, int, float)):
        raise TypeError(f"got a {type(x).__module__}.{type(x).__name__}, allowed is a numpy array; convert it first")
    x = np.asarray(x)
    if x.dtype not in (np.float64, np.int64):
        raise TypeError(f"got an array of {x.dtype}, allowed is float64: another type would not come back as itself; convert it first")
    x = x.astype(np.float64)
    if x.size > LONG or x.size == 0:  # an empty list would forget its shape
        return {"shape": list(x.shape), "float64": base64.b64encode(x.astype("<f8").tobytes()).decode()}
    return _each_number(x.tolist(), _write_number)


def _read_array(x):
    if not isinstance(x, dict):
        try:
            return np.array(_each_number(x, _read_number), dtype=np.float64)
        except ValueError as error:
            ragged = "inhomogeneous" in str(error)
            raise ValueError("got rows of unequal length, allowed is a rectangular array" if ragged else str(error)) from None
    if set(x) != {"shape", "float64"}:
        raise ValueError(f'got an object with the keys {", ".join(x) or "(none)"}, allowed are "shape" and "float64", or nested lists')
    shape = x["shape"]
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"shape: got {_brief(shape)}, allowed is a list of counts")
    try:
        data = base64.b64decode(x["float64"], validate=True)
    except (TypeError, ValueError):
        raise ValueError("float64: got text that is not base64") from None
    if len(data) != 8 * math.prod(shape):
        raise ValueError(f"float64: got {len(data)} bytes, allowed are {8 * math.prod(shape)} for the shape {shape}")
    return np.frombuffer(data, dtype="<f8").astype(np.float64).reshape(shape)


def _each_number(x, f, depth=0):
    if isinstance(x, list) and depth < 8:
        return [_each_number(y, f, depth + 1) for y in x]
    return f(x)


def _read_flags(x):
    if not isinstance(x, list) or not all(type(y) is bool for y in x):
        raise ValueError(f"got {_brief(x)}, allowed is a list of true and false")
    return np.array(x, dtype=bool)


def _plain(kind, what):
    def read(x):
        if type(x) is not kind:
            raise ValueError(f"got {_brief(x)}, allowed is {what}")
        return x

    return kind, read


def _or_null(field):
    write, read = field
    return (lambda x: None if x is None else write(x)), (lambda x: None if x is None else read(x))


def _sequence_of(field):
    write, read = field

    def read_all(xs):
        if not isinstance(xs, list):
            raise ValueError(f"got {_brief(xs)}, allowed is a list")
        return tuple(_at(f"[{i}]", read, x) for i, x in enumerate(xs))

    return (lambda xs: [write(x) for x in xs]), read_all


def _write_any(x):
    """A value of no declared kind; what JSON cannot say (inf, tuples, arrays, keys that clash) becomes an object with a type."""
    if isinstance(x, np.generic):
        x = x.item()
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"type": "number", "value": str(x)}
    if isinstance(x, np.ndarray):
        return {"type": "array", "values": _write_array(x)}
    if isinstance(x, list):
        return [_write_any(y) for y in x]
    if isinstance(x, tuple):
        return {"type": "tuple", "items": [_write_any(y) for y in x]}
    if isinstance(x, Mapping) and all(isinstance(k, str) for k in x):
        items = {k: _write_any(x[k]) for k in x}
        return {"type": "mapping", "items": [*map(list, items.items())]} if "type" in items else items
    return encode(x)


def _read_any(x):
    if isinstance(x, list):
        return [_at(f"[{i}]", _read_any, y) for i, y in enumerate(x)]
    if not isinstance(x, dict):
        return x
    if "type" not in x:
        return {k: _at(k, _read_any, y) for k, y in x.items()}
    special = {
        "number": ("value", _read_number), "array": ("values", _read_array), "tuple": ("items", lambda y: tuple(_read_any(y))),
        "mapping": ("items", lambda y: {k: _read_any(z) for k, z in y}),
    }  # fmt: skip
    if x["type"] in special:
        key, read = special[x["type"]]
        if set(x) != {"type", key}:
            raise ValueError(f"{x['type']}: got the keys {', '.join(x)}, allowed are type, {key}")
        return _at(x["type"], read, x[key])
    return decode(x)


def _read_mapping(x):
    if not isinstance(x, dict):
        raise ValueError(f"got {_brief(x)}, allowed is an object")
    return {k: _at(k, _read_any, y) for k, y in x.items()}


def _read_assumption(x):
    if not (isinstance(x, list) and [*map(type, x)] == [str, bool]):
        raise ValueError(f'got {_brief(x)}, allowed is ["text", true or false]')
    return tuple(x)


NUMBER = _write_number, _read_number
ARRAY = _write_array, _read_array  # shape () is a number
FLAGS = (lambda x: np.asarray(x).tolist()), _read_flags
TEXT = _plain(str, "text")
FLAG = _plain(bool, "true or false")
COUNTS = _sequence_of(_plain(int, "a count"))
ANY = _write_any, _read_any
VALUE = (lambda x: encode(x)), (lambda x: decode(x))
MAPPING = (lambda x: {k: _write_any(x[k]) for k in x}), (lambda x: _read_mapping(x))
VALUES = _sequence_of(VALUE)
ASSUMPTION = list, (lambda x: _read_assumption(x))  # (text, does it hold here)

# "type" -> (module, class, fields); a field may be left out of the text if the class has a default for it
TYPES = {
    "gaussian": (".laws", "Gaussian", {"mean": ARRAY, "cov": ARRAY}),
    "gaussian_mixture": (".laws", "GaussianMixture", {"weights": ARRAY, "means": ARRAY, "covs": ARRAY}),
    "empirical": (".laws", "Empirical", {"points": ARRAY, "weights": _or_null(ARRAY)}),
    "uniform": (".laws", "Uniform", {"low": ARRAY, "high": ARRAY}),
    "smoothed_box": (".laws", "SmoothedBox", {"low": ARRAY, "high": ARRAY, "var": ARRAY}),
    "product": (".laws", "Product", {"factors": VALUES, "repeat": _or_null(COUNTS)}),
    "circle": (".laws", "Circle", {"radius": NUMBER, "var": NUMBER}),
    "rotated": (".laws", "Rotated", {"law": VALUE, "basis": ARRAY}),
    "kernel": (".kernel", "Kernel", {"m": ARRAY, "v": ARRAY, "log_m": _or_null(ARRAY)}),
    "table": (".scheme", "Table", {
        "times": ARRAY, "a": ARRAY, "b": ARRAY, "c": ARRAY, "state": _or_null(FLAGS), "score_times": _or_null(ARRAY), "target": _or_null(VALUE),
        "name": TEXT, "order": _or_null(NUMBER), "reference": TEXT,
    }),
    "path": (".engine.simulate", "Path", {"times": ARRAY, "states": ARRAY}),
    "ledger": (".information", "Ledger", dict.fromkeys(("times", "relative_fisher", "fisher", "second_moment", "entropy", "mmse"), ARRAY)),
    "enclosure": (".enclosure", "Enclosure", {
        "lo": NUMBER, "hi": NUMBER, "level": TEXT, "alpha": NUMBER, "value": _or_null(NUMBER), "method": TEXT,
    }),
    "cell": (".theorems.claim", "Cell", {
        "parameters": MAPPING, "lhs": VALUE, "rhs": VALUE, "verdict": TEXT, "vacuous": FLAG,
    }),
    "claim": (".theorems.claim", "Claim", {
        "name": TEXT, "id": TEXT, "verdict": TEXT, "expected": TEXT, "relation": TEXT, "lhs": _or_null(VALUE), "rhs": _or_null(VALUE),
        "slack": NUMBER, "terms": MAPPING, "parameters": MAPPING, "cells": VALUES, "assumptions": _sequence_of(ASSUMPTION),
        "statement": TEXT, "reference": TEXT, "caveat": TEXT, "vacuous": FLAG, "reason": TEXT, "control": _or_null(VALUE), "seconds": NUMBER,
    }),
    "sweep": (".sweeps", "Sweep", {"parameters": _sequence_of(MAPPING), "values": _sequence_of(ANY), "computed": _plain(int, "a count")}),
}  # fmt: skip


# ---- values ---------------------------------------------------------------------------------------------------------------------------


def encode(x):
    """``x`` as what ``json.dumps`` takes, without "format"; TypeError for what has no JSON form."""
    for name, (module, cls, fields) in TYPES.items():
        loaded = sys.modules.get(__package__ + module)  # who holds an instance has loaded its class
        if loaded is not None and type(x) is getattr(loaded, cls, None):
            return {"type": name} | {key: _at(f"{name}.{key}", write, _stored(x, key)) for key, (write, _) in fields.items()}
    raise TypeError(
        f"to_json: got {type(x).__module__}.{type(x).__qualname__}, allowed are {', '.join(TYPES)}; "
        "what is made of Python functions, or computed by an engine, has no JSON form: keep the code that builds it"
    )


def _stored(x, key):
    """The field ``key``, which stands under ``_key`` where a method bears the name (``law.mean()``)."""
    value = getattr(x, key)
    return getattr(x, f"_{key}") if callable(value) else value


def decode(x):
    """The value that ``encode`` wrote; ValueError says where and what is wrong."""
    if not isinstance(x, dict):
        raise ValueError(f'got {_brief(x)}, allowed is an object with a "type"')
    name = x.get("type")
    if not isinstance(name, str) or name not in TYPES:
        got = "no type" if name is None else f"type {_brief(name)}"
        raise ValueError(f"got {got}, allowed are {', '.join(TYPES)}")
    module, cls, fields = TYPES[name]
    cls = getattr(importlib.import_module(module, __package__), cls)
    for key in x:
        if key != "type" and key not in fields:
            raise ValueError(f"{name}: got the unknown key {_brief(key)}, allowed are {', '.join(fields)}")
    parameters = inspect.signature(cls).parameters
    for key in fields:
        if key not in x and parameters[key].default is inspect.Parameter.empty:
            raise ValueError(f"{name}: got no {_brief(key)}, allowed keys are {', '.join(fields)}")
    given = {key: _at(f"{name}.{key}", read, x[key]) for key, (_, read) in fields.items() if key in x}
    return _at(name, lambda kwargs: cls(**kwargs), given)


def _at(place, f, x):
    """f(x), with the place in front of what it complains about."""
    try:
        return f(x)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError  # not type(error): a UnicodeError takes five arguments
        raise kind(f"{place}: {error}") from None


def _brief(x):
    text = json.dumps(x, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def to_json(x):
    """Strict JSON text of a law, Kernel, Table, Enclosure, Claim, ...; ``from_json(to_json(x)) == x`` bitwise.

    Raises TypeError for objects made of Python functions (Density, own scores) and for arrays that are not numpy float64.
    """
    return json.dumps({"format": FORMAT} | encode(x), allow_nan=False, ensure_ascii=False)


def from_json(text):
    """The value written by ``to_json``, or by hand in the same form.

    Raises ValueError, naming the place, for text that is not strict JSON, unknown formats, types and keys, and values the class refuses.
    """
    x = parse(text)
    if not isinstance(x, dict):
        raise ValueError(f'got {_brief(x)}, allowed is an object with "format" and "type"')
    if x.get("format") != FORMAT:
        if "format" not in x:
            raise ValueError(f'format: got none, allowed is "{FORMAT}"; add "format": "{FORMAT}" at the outermost level')
        raise ValueError(f'format: got {_brief(x["format"])}, this version reads "{FORMAT}"; use the version of scoresde that wrote it')
    return decode({k: v for k, v in x.items() if k != "format"})


def parse(text):
    """``json.loads`` without the extensions: no NaN, no Infinity, no number beyond float64, no key twice."""

    def constant(token):
        raise ValueError(f'got the token {token}, which is not JSON; write "inf", "-inf" or "nan" in quotes')

    def number(token):
        x = float(token)
        if math.isinf(x):
            raise ValueError(f"got the number {token}, allowed are numbers up to {sys.float_info.max:.3g}")
        return x

    def pairs(items):
        keys = [k for k, _ in items]
        if len(set(keys)) < len(keys):
            raise ValueError(f"got the key {_brief(next(k for k in keys if keys.count(k) > 1))} twice in one object")
        return dict(items)

    if not isinstance(text, str):
        raise TypeError(f"from_json: got {type(text).__name__}, allowed is text; load(path) reads a file")
    try:
        return json.loads(text, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("not read: brackets are nested too deeply") from None


# ---- files ----------------------------------------------------------------------------------------------------------------------------


def save(x, path):
    """``to_json(x)`` in a file: written whole or not at all. ``"-"`` is standard output."""
    write_whole(path, to_json(x) + "\n")


def load(path):
    """The value in a file that ``save`` wrote. Raises OSError if it cannot be read, ValueError (with the file's name) if it is not one."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    return _at(os.fspath(path), from_json, text)
