"""Trained scores as safetensors files: weights and numbers only, no code; written whole or not at all."""

import json
import os
from dataclasses import replace

import safetensors
import safetensors.torch
import torch

from .._arrays import frozen
from ..files import check_writable, is_regular, write_whole
from .learned import LearnedScore, score
from .network import Network

__all__ = ["load", "save"]

FORMAT = "scoresde-score/1"


def save(score, path):
    """The score of ``train`` in the file ``path`` (safetensors): a reader sees the old file or the new one, never a part.

    Bitwise: ``load(path)`` gives the same numbers. Raises TypeError for any other score (an architecture of your own is not described
    by its weights: keep it with ``safetensors.torch.save_model``), OSError if the file cannot be written.
    """
    if not isinstance(score, LearnedScore) or not isinstance(score.module, Network):
        kind = type(getattr(score, "module", score)).__name__
        raise TypeError(f"score: got {kind}, allowed is what learn.train returned; keep your own network with safetensors.torch.save_model")
    path = os.path.realpath(path)
    check_writable(path)
    if not is_regular(path):
        raise OSError(f"{path}: got a device or a pipe, allowed is a regular file, which can be replaced as a whole")
    about = {"dim": score.dim, "width": score.module.width, "depth": score.module.depth, "stop": score.stop, "T": score.T}
    tensors = {name: value.detach().cpu().contiguous() for name, value in score.module.state_dict().items()}
    tensors["losses"] = torch.tensor(score.losses, dtype=torch.float64)
    write_whole(path, safetensors.torch.save(tensors, {"format": FORMAT, "network": json.dumps(about)}))


def load(path):
    """The LearnedScore that ``save`` wrote, on the CPU, in the dtype it had.

    Raises OSError if the file cannot be read, ValueError if it is not such a file, or one of another version.
    """
    with open(path, "rb"):
        pass  # a missing file or a folder is an OSError, whatever the reader below makes of it
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); allowed is what learn.save wrote") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: got the format {metadata.get('format')!r}, allowed is {FORMAT!r}, what learn.save writes")
    try:
        about = json.loads(metadata["network"])
        dim, stop, T, losses = about["dim"], float(about["stop"]), float(about["T"]), tensors.pop("losses")
        network = Network(dim, about["width"], about["depth"], device="meta")  # no memory until the shapes have been compared
        network.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its tensors and their description disagree ({error!s:.200}); allowed is what learn.save wrote") from None
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise ValueError(f"{path}: a weight is not finite; allowed is what learn.save wrote")
    dtype = network.net[0].weight.dtype
    return replace(score(network, dim=dim, dtype=dtype), stop=stop, T=T, losses=frozen(losses.numpy()))
