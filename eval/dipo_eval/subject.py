"""Whom an evaluation asks: a checkpoint and what it answers as, loaded only while its files are those hashed."""

from __future__ import annotations

from dataclasses import dataclass

from dipo_eval.checkpoints import Checkpoint
from dipo_eval.engine import Engine, open_engine
from dipo_eval.errors import UserError
from dipo_eval.finite_weights import first_not_finite
from dipo_eval.frozen_model import FrozenModel
from dipo_eval.identity import Identity, local_identity, served_identity
from dipo_eval.task import Options


@dataclass(frozen=True)
class Subject:
    """A checkpoint, what it answers as, and its files; None where a server has them."""

    checkpoint: Checkpoint
    identity: Identity
    files: FrozenModel | None


def subject_of(checkpoint: Checkpoint, options: Options) -> Subject:
    """Hash the files of a checkpoint, or ask its server. Raises UserError where there is none."""
    if options.base_url is not None:
        return Subject(
            checkpoint, served_identity(str(checkpoint.path), options.base_url, options.dtype), None
        )
    files = FrozenModel(checkpoint.path)
    return Subject(checkpoint, local_identity(files, options.engine, options.dtype), files)


def as_it_is_now(subject: Subject, options: Options) -> Subject:
    """Hours may have passed with other checkpoints since the files were hashed."""
    if subject.files is None or subject.files.is_current():
        return subject
    return subject_of(subject.checkpoint, options)


def load(subject: Subject, context: int | None, options: Options) -> Engine:
    """The model in its engine; its files are those that were hashed, and its weights are numbers."""
    path = subject.checkpoint.path
    engine = open_engine(
        options.engine,
        path,
        max_model_len=context or 0,
        dtype=subject.identity.dtype,
        base_url=options.base_url,
    )
    try:
        if subject.files is not None:
            subject.files.check_loaded()
            if where := first_not_finite(path):
                raise UserError(
                    f"{path}: its weights hold NaN, infinite or overflowing numbers ({where}), so that nothing it "
                    "says means anything: the training diverged; evaluate an earlier checkpoint"
                )
    except BaseException:
        engine.close()
        raise
    return engine
