"""The model that is evaluated: a checkpoint and its identity, loaded only while its files are those that were hashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dipo_eval.engines.base import Engine
from dipo_eval.engines.openai import NoServerError
from dipo_eval.engines.registry import open_engine
from dipo_eval.errors import UserError
from dipo_eval.results.store import read_result, suite_folder
from dipo_eval.runner.options import Options
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.finite_weights import first_not_finite
from dipo_eval.subject.frozen_model import FrozenModel
from dipo_eval.subject.identity import Identity, local_identity, served_identity, stored_identity
from dipo_eval.subject.marker import found_finite


@dataclass(frozen=True)
class Subject:
    """A checkpoint, its identity, and its files; None where a server has them."""

    checkpoint: Checkpoint
    identity: Identity
    files: FrozenModel | None


def subject_of(checkpoint: Checkpoint, suites: Sequence[str], options: Options) -> Subject:
    """Hash the files of a checkpoint, or query its server. Raises UserError where there is none.

    Where the server does not answer and every suite has its result, its identity is taken from these.
    """
    if options.base_url is not None:
        model, base_url = str(checkpoint.path), options.base_url
        try:
            return Subject(checkpoint, served_identity(model, base_url, options.dtype), None)
        except NoServerError:
            identity = None if options.force else _as_stored(checkpoint, suites, base_url, options)
            if identity is None:
                raise
            options.log(
                f"{base_url}: does not answer; {checkpoint.name} has a result of every suite, and the server's identity "
                "is taken from these"
            )
            return Subject(checkpoint, identity, None)
    files = FrozenModel(checkpoint.path)
    return Subject(checkpoint, local_identity(files, options.engine, options.dtype), files)


def current_subject(subject: Subject, suites: Sequence[str], options: Options) -> Subject:
    """The subject hashed again if its files have changed meanwhile: other checkpoints may have taken hours."""
    if subject.files is None or subject.files.is_current():
        return subject
    return subject_of(subject.checkpoint, suites, options)


def _as_stored(
    checkpoint: Checkpoint, suites: Sequence[str], base_url: str, options: Options
) -> Identity | None:
    """The server's identity in the results of all suites; None where one is missing or they disagree."""
    folders = [suite_folder(options.results_dir, options.run, checkpoint.name, suite) for suite in suites]
    model = str(checkpoint.path)
    found = [
        stored_identity(result, model, base_url, options.dtype) if result else None
        for result in map(read_result, folders)
    ]
    return found[0] if found and all(one == found[0] for one in found) else None


def load(subject: Subject, context: int | None, options: Options) -> Engine:
    """The model in its engine; its files are those that were hashed, and its weights are finite.

    A training checks what it marks complete: weights with the hash in its marker are not read again.
    """
    path = subject.checkpoint.path
    engine = open_engine(
        options.engine,
        path,
        max_model_len=context or 0,
        dtype=subject.identity.dtype,
        base_url=options.base_url,
        seed=options.seed,
    )
    try:
        if subject.files is not None:
            subject.files.check_loaded()
            known = found_finite(path) == subject.identity.weights_hash
            if where := None if known else first_not_finite(path):
                raise UserError(
                    f"{path}: its weights hold NaN, infinite or overflowing numbers ({where}): the training diverged; "
                    "evaluate an earlier checkpoint"
                )
    except BaseException:
        engine.close()
        raise
    return engine
