"""Load a recipe: one YAML file that names a model, data and a method's switches, validated before anything starts.

Four sections are ours (`run`, `dipo`, `evaluate`, `watch`); every other key is an argument of OpenRLHF under its own
dotted name (`actor.adam.lr`, `rollout.n_samples_per_prompt`, ...), checked against OpenRLHF's real parser. Order of
precedence: command line, recipe, the recipes it `extends` (the later ones first), the method's defaults, OpenRLHF's
defaults.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError
from dipo_eval.secrets.errors import short_repr
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.recipe.checks import check_combinations
from dipo_openrlhf.recipe.defaults import add_defaults, add_paths, on_cpu
from dipo_openrlhf.recipe.file_names import check_file_names
from dipo_openrlhf.recipe.files import merged_settings
from dipo_openrlhf.recipe.no_secrets import check_no_secrets
from dipo_openrlhf.recipe.openrlhf_args import checked_value, openrlhf_actions
from dipo_openrlhf.recipe.other_names import KEY_OF
from dipo_openrlhf.recipe.placement import add_engines
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.schema import SECTIONS
from dipo_openrlhf.recipe.yaml_lines import Setting


def load_recipe(name: str, overrides: dict[str, Setting] | None = None) -> Recipe:
    """Read, merge and validate. Raises UserError with key, value, place and remedy."""
    source, settings = merged_settings(name)
    return build_recipe(source, {**settings, **(overrides or {})})


def shown_recipe(name: str) -> Recipe:
    """A recipe that is only shown: the model and the prompts, which whoever runs it gives, may be missing. Raises
    UserError.
    """
    source, settings = merged_settings(name)
    for key in ("actor.model_name_or_path", "data.prompt_dataset"):
        settings.setdefault(key, Setting("(to be given)", "given with the start"))
    return build_recipe(source, settings)


def recipe_settings(name: str, overrides: dict[str, Setting] | None = None) -> dict[str, Setting]:
    """The values of the recipe, those it extends and the command line, as written. Raises UserError."""
    return {**merged_settings(name)[1], **(overrides or {})}


def build_recipe(source: str, settings: dict[str, Setting]) -> Recipe:
    """Validate merged settings. See load_recipe."""
    check_no_secrets(settings)
    for key, setting in settings.items():
        if setting.bare and key in known_keys() and not _is_switch(key):
            raise UserError(f"--{key}: has no value: write --{key} VALUE")
    check_file_names(settings)
    own = {name: _own_section(model, name, _within(name, settings)) for name, model in SECTIONS.items()}
    dipo = _dipo_section(_within("dipo", settings))
    cpu = on_cpu(own["run"].device)
    openrlhf: dict[str, Any] = {}
    for key, setting in settings.items():
        if key.partition(".")[0] in (*SECTIONS, "dipo") and "." in key:
            continue
        if setting.value in (None, {}) and any(one.startswith(f"{key}.") for one in known_keys()):
            continue  # a section whose lines are all comments
        if key not in openrlhf_actions():
            raise UserError(_unknown(key, setting))
        if (value := checked_value(key, setting, cpu)) is not None:
            openrlhf[key] = value
    where = {key: setting.where for key, setting in settings.items()}
    add_defaults(openrlhf, where, dipo.method, cpu)
    recipe = Recipe(source=source, dipo=dipo, openrlhf=openrlhf, where=where, **own)
    add_paths(openrlhf, recipe.run_dir.resolve())
    if not cpu:
        add_engines(recipe)
    check_combinations(recipe)
    return recipe


def _is_switch(key: str) -> bool:
    section, _, name = key.partition(".")
    if section in SECTIONS:
        return SECTIONS[section].model_fields[name].annotation is bool
    if key.startswith("dipo."):
        return isinstance(getattr(DipoConfig(), name), bool)
    return openrlhf_actions()[key].nargs == 0


def _within(section: str, settings: dict[str, Setting]) -> dict[str, Setting]:
    start = f"{section}."
    return {key.removeprefix(start): setting for key, setting in settings.items() if key.startswith(start)}


def _own_section(model: type[Any], section: str, settings: dict[str, Setting]) -> Any:
    try:
        given = {key: _value(model, key, setting) for key, setting in settings.items()}
        return model(**{key: value for key, value in given.items() if value is not None})  # else the default
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        setting = settings.get(key.split(".")[0], Setting(first.get("input"), "the recipe"))
        if first["type"] == "extra_forbidden":
            raise UserError(_unknown(f"{section}.{key}", setting)) from None
        rule = _RULES.get(first["type"]) or first["msg"].replace("Input should", "must")
        raise UserError(f"{setting.where}: {section}.{key}: {short_repr(setting.value)}: {rule}") from None


# pydantic's kinds of errors, in the words of the other messages.
_RULES = {
    "string_type": "must be text; put it in quotes",
    "list_type": "must be a list, such as [gsm8k, math500]",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
}


def _value(model: type[Any], key: str, setting: Setting) -> Any:
    """A section's value; text as it was given, and suites as in `dipo eval --suites a,b`."""
    field = model.model_fields.get(key)
    if field is None or isinstance(setting.value, list):
        return setting.value
    if field.annotation is str and setting.text is not None and setting.value is not None:
        return setting.text
    if field.annotation == list[str] and isinstance(setting.value, str) and not setting.value.startswith("["):
        return [part.strip() for part in setting.value.split(",") if part.strip()]
    return setting.value


def _dipo_section(settings: dict[str, Setting]) -> DipoConfig:
    try:
        return DipoConfig.from_dict({key: setting.value for key, setting in settings.items()})
    except ValueError as error:
        places = (s.where for key, s in settings.items() if str(error).startswith(f"dipo.{key} ="))
        raise UserError(f"{next(places, 'recipe')}: {error}") from None


# Of the commands that take overrides.
_OPTIONS = ("dry-run", "resume", "verbose", "help", "write-only", "folder")


def known_keys() -> list[str]:
    """Every key a recipe may have."""
    own = [f"{name}.{key}" for name, model in SECTIONS.items() for key in model.model_fields]
    return [*own, *(f"dipo.{field.name}" for field in fields(DipoConfig)), *openrlhf_actions()]


def _unknown(key: str, setting: Setting) -> str:
    known = known_keys()
    last = key.rsplit(".", 1)[-1]
    near = nearest(key, known, cutoff=0.5) or next((one for one in known if one.endswith(last)), None)
    hint = f"; the nearest known key is {near}" if near else ""
    if key in KEY_OF:
        hint = f"; here it is {KEY_OF[key]}"
    if setting.where == f"--{key}" and (option := nearest(key, _OPTIONS)):
        hint = f"; did you mean --{option}?"
    return f"{setting.where}: unknown key {key} (value {short_repr(setting.value)}){hint}"
