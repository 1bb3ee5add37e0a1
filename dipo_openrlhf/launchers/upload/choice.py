"""Choose what is uploaded: code and configuration of the current folder and what the recipe names, never through links.

Everything that stays is listed with its reason. In this order: a link out of the folder, the name of a key file, and
--exclude keep a file here; then the recipe and --include send it; then what is hidden, ignored by git, of another kind
or large stays. Data or a text whose name only contains a word for keys stays until it is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from pathspec import GitIgnoreSpec

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError
from dipo_openrlhf.launchers.upload import names

MAY_BE_ADDED = "may hold keys, by its name alone: --include with that name adds it if it holds none"
KEYS, LINK, BROKEN = "may hold keys", "a link out of this folder", "a link to nothing, or round in a circle"
EXCLUDED, HIDDEN, IGNORED = "--exclude", "hidden", ".gitignore or .rayignore"
KIND = "not code or configuration, and not named by the recipe"
LARGE = f"over {names.LARGEST // 2**20} MiB, and not named by the recipe"
FOLDER, SPECIAL = "an environment, a cache, or the output of runs", "not a regular file"
_IGNORE_FILES = (".gitignore", ".rayignore")
MAX_ENTRIES = 100_000


@dataclass
class Upload:
    """Files of one folder, relative to it, with their sizes in bytes; and what stays here, with the reason."""

    root: Path
    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # folders end in a slash
    named: set[str] = field(default_factory=set)  # of the files, those that the recipe or --include names
    suspect: set[str] = field(default_factory=set)  # of the files, those whose names contain a word for keys
    checked: dict[str, str] = field(default_factory=dict)  # SHA-256 of the contents in which no key was found
    is_ours: bool = False  # this project's code, which has examples of keys in it

    @property
    def size(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Rules:
    """The user's .gitignore patterns of --exclude and --include."""

    exclude: GitIgnoreSpec
    include: GitIgnoreSpec
    by_name: GitIgnoreSpec  # of --include, the patterns that contain a word for keys, as `*` does not


def choose(
    root: Path, named: Sequence[tuple[str, str]], exclude: Sequence[str] = (), include: Sequence[str] = ()
) -> Upload:
    """What of `root` is uploaded. `named`: (recipe key, relative path as written).

    Raises UserError: a named file that must stay, an --include that adds or an --exclude that meets nothing, a folder of
    too many files.
    """
    by_name = [one for one in include if names.may_hold_keys(one)]
    rules = Rules(*(GitIgnoreSpec.from_lines(lines) for lines in (exclude, include, by_name)))
    upload = Upload(root.resolve())
    for key, value in named:
        _add_named(upload, rules, key, value)
    _walk(upload, rules, "", [], (upload.root,))
    for pattern in include:
        _check_include(upload, pattern)
    for pattern in exclude:
        _check_exclude(upload, pattern)
    upload.files = dict(sorted(upload.files.items()))
    upload.left_out = {name: why for name, why in sorted(upload.left_out.items()) if name not in upload.files}
    return upload


def _add_named(upload: Upload, rules: Rules, key: str, value: str) -> None:
    """A file, or a folder with all that is in it."""
    written = Path(os.path.normpath(upload.root / value))
    if not written.is_relative_to(upload.root):
        raise UserError(
            f"{key}: {value!r}: is not sent: it is outside this folder; give an absolute path on storage that every "
            "node sees"
        )
    name = "" if written == upload.root else written.relative_to(upload.root).as_posix()
    reason = _kept_here(upload, rules, name, named=True)
    if reason is None and name and upload.root.is_relative_to(written.resolve()):
        reason = BROKEN
    if reason:
        raise UserError(f"{key}: {value!r}: is not sent ({reason}): {_remedy(reason)}")
    if written.is_dir():
        for inner, why in _files_below(upload, rules, name):
            if why in (KEYS, LINK, BROKEN):
                raise UserError(f"{key}: {value!r}: its {inner} is not sent ({why}): {_remedy(why)}")
            _note(upload, inner, why, named=True)
    else:
        _note(upload, name, None, named=True)


def _remedy(reason: str) -> str:
    return {
        KEYS: "rename it if it holds none, or keep it on storage that every node sees and give its absolute path",
        EXCLUDED: "use a narrower pattern, or give an absolute path on storage that every node sees",
    }.get(reason, "put a copy in its place, or give an absolute path on storage that every node sees")


def _kept_here(upload: Upload, rules: Rules, name: str, *, named: bool = False) -> str | None:
    """Why a file or folder stays, whatever names it; the name of a link's target counts as well.

    `named`: the recipe names the file, or the folder that it is in.
    """
    path = upload.root / name
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return BROKEN
    if not target.is_relative_to(upload.root):
        return LINK
    folder = path.is_dir()
    real = target.relative_to(upload.root).as_posix()
    if any(names.is_key_file(one, is_folder=folder) for one in (name, real)):
        return KEYS
    if rules.exclude.match_file(f"{name}/" if folder else name):
        return EXCLUDED
    suspect = [] if folder else [one for one in (name, real) if names.may_hold_keys(one)]
    if suspect:
        upload.suspect.add(name)
    if all(map(names.is_module, suspect)):
        return None
    if not all(map(names.is_data_or_text, suspect)):
        return KEYS
    return None if named or rules.by_name.match_file(name) else MAY_BE_ADDED


def _files_below(upload: Upload, rules: Rules, folder: str) -> Iterator[tuple[str, str | None]]:
    """Every entry below a named folder, with the reason for which it stays."""
    above = (upload.root / folder).resolve()
    for entry in _entries(upload, folder):
        reason = HIDDEN if names.is_hidden(entry) else _kept_here(upload, rules, entry, named=True)
        if reason or not (upload.root / entry).is_dir():
            yield entry, reason
        elif above.is_relative_to((upload.root / entry).resolve()):
            yield entry, BROKEN
        else:
            yield from _files_below(upload, rules, entry)


def _walk(
    upload: Upload,
    rules: Rules,
    folder: str,
    ignored: list[tuple[str, GitIgnoreSpec]],
    above: tuple[Path, ...],
) -> None:
    ignored = [*ignored, *_ignore_files(upload, folder)]
    for name in _entries(upload, folder):
        if name in upload.files:
            continue
        path = upload.root / name
        if not path.is_dir():
            reason = _kept_here(upload, rules, name) or _stays(upload, rules, name, ignored)
            _note(upload, name, reason, named=bool(rules.include.match_file(name)))
            continue
        reason = _kept_here(upload, rules, name) or (None if names.is_looked_into(name) else FOLDER)
        if (path / "pyvenv.cfg").exists():
            reason = FOLDER
        if reason is None and path.resolve() in above:
            reason = BROKEN
        if reason:
            upload.left_out[f"{name}/"] = reason
        else:
            _walk(upload, rules, name, ignored, (*above, path.resolve()))
            if _is_ignored(f"{name}/", ignored):
                _list_as_one(upload, f"{name}/")


def _list_as_one(upload: Upload, folder: str) -> None:
    """Of an ignored folder of which nothing is sent, one entry; what may hold keys, and links, are listed as well."""
    if any(name.startswith(folder) for name in upload.files):
        return
    for name, why in [*upload.left_out.items()]:
        if name.startswith(folder) and why in (IGNORED, HIDDEN, KIND, FOLDER):
            del upload.left_out[name]
    upload.left_out[folder] = IGNORED


def _is_ignored(name: str, ignored: list[tuple[str, GitIgnoreSpec]]) -> bool:
    return any(spec.match_file(name.removeprefix(folder)) for folder, spec in ignored)


def _stays(upload: Upload, rules: Rules, name: str, ignored: list[tuple[str, GitIgnoreSpec]]) -> str | None:
    path = upload.root / name
    if not path.is_file():
        return SPECIAL
    if name.rpartition("/")[2] in _IGNORE_FILES:
        return HIDDEN  # Ray would apply it to the upload
    if rules.include.match_file(name):
        return None
    if names.is_hidden(name):
        return HIDDEN
    if _is_ignored(name, ignored):
        return IGNORED
    if not names.is_code_or_configuration(name):
        return KIND
    return LARGE if path.stat().st_size > names.LARGEST else None


def _ignore_files(upload: Upload, folder: str) -> Iterator[tuple[str, GitIgnoreSpec]]:
    for name in _IGNORE_FILES:
        path = upload.root / folder / name
        if path.is_file() and not path.is_symlink():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            yield (f"{folder}/" if folder else "", GitIgnoreSpec.from_lines(lines))


def _entries(upload: Upload, folder: str) -> list[str]:
    """Relative names of a folder's entries. Raises UserError where it cannot be listed, or holds too many."""
    try:
        found = sorted(os.listdir(upload.root / folder))
    except OSError as error:
        raise UserError(
            f"{upload.root / folder}: cannot be listed ({error.strerror}): leave it out with --exclude"
        ) from None
    if len(upload.files) + len(upload.left_out) + len(found) > MAX_ENTRIES:
        raise UserError(
            f"{upload.root}: more than {MAX_ENTRIES:,} files: submit from the folder of the project alone"
        )
    return [f"{folder}/{name}" if folder else name for name in found]


def _note(upload: Upload, name: str, reason: str | None, *, named: bool) -> None:
    path = upload.root / name
    if reason is None and not path.is_file():
        reason = SPECIAL
    if reason:
        upload.left_out[name] = reason
        return
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read, so it cannot be sent: exclude it with --exclude")
    upload.files[name] = path.stat().st_size
    if named:
        upload.named.add(name)


def _check_include(upload: Upload, pattern: str) -> None:
    """An --include that adds nothing is a misunderstanding."""
    spec = GitIgnoreSpec.from_lines([pattern])
    if any(spec.match_file(name) for name in upload.files):
        return
    kept = next((name for name in sorted(upload.left_out) if spec.match_file(name)), None)
    why = (
        f"{kept} stays here ({upload.left_out[kept]})"
        if kept
        else "no file that could be sent has such a name"
    )
    raise UserError(f"--include {pattern!r}: {why}; --dry-run lists what travels and what does not")


def _check_exclude(upload: Upload, pattern: str) -> None:
    """One that is close to a name here is a slip: what it was to keep would be sent. Another may be for what is not there
    yet, as the run's folder before its first start.
    """
    spec = GitIgnoreSpec.from_lines([pattern])
    not_looked_into = [name for name in upload.left_out if name.endswith("/")]
    if any(pattern.removeprefix("/").startswith(name) for name in not_looked_into):
        return
    names_here = (*upload.left_out, *upload.files)
    if any(spec.match_file(name) for name in names_here):
        return
    if near := nearest(pattern, {part for name in names_here for part in (name, *name.split("/")) if part}):
        raise UserError(
            f"--exclude {pattern!r}: no file or folder here has such a name: did you mean {near}? Write it as in a "
            f".gitignore of {upload.root}"
        )
    typer.echo(f"--exclude {pattern!r}: nothing here has such a name yet", err=True)
