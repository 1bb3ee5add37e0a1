"""What `dipo submit` prints about a Ray job and its upload. Names of variables, never their values."""

from __future__ import annotations

from dipo_eval.secrets.masking import mask_text
from dipo_eval.secrets.urls import mask_urls
from dipo_eval.secrets.values import Secrets
from dipo_openrlhf.launchers.ray_jobs import JobPlan
from dipo_openrlhf.launchers.upload.choice import Upload
from dipo_openrlhf.launchers.upload.names import is_module
from dipo_openrlhf.recipe.placement import placement

_MAX_MODULES = 10


def job_text(plan: JobPlan) -> str:
    """A complete Ray job, for --dry-run."""
    recipe = plan.request.recipe
    lines = [
        f"to            {mask_urls(plan.address)} (nothing is sent: --dry-run)",
        f"job           {plan.submission_id}",
        f"entrypoint    {plan.entrypoint}",
        f"takes         {placement(recipe).total} {'simulated ' if recipe.on_cpu else ''}GPUs of the cluster",
        f"metadata      {', '.join(f'{key}={value}' for key, value in sorted(plan.metadata.items()))}",
        f"variables     {', '.join(sorted(plan.runtime_env['env_vars']))} (names; values are not shown)",
        f"keys          {_keys(plan)}",
    ]
    for number, upload in enumerate(plan.uploads):
        kind = "working_dir" if number == 0 else "py_modules"
        lines.append(f"{kind:<13} {upload.root}: {len(upload.files)} files, {size_text(upload.size)}")
        if number == 0:
            lines += [f"    {size_text(size):>10}  {name}" for name, size in upload.files.items()]
            lines.append(f"left out      {len(upload.left_out)}; --include PATTERN adds what holds no keys")
            lines += [f"    {name}: {why}" for name, why in upload.left_out.items()]
    lines.append(f"in all        {total_text(plan.uploads)} before compression")
    return mask_text("\n".join(lines), plan.request.secrets)  # what stays may have a key in its name


def left_out_text(left_out: dict[str, str], secrets: Secrets, first: int = 3) -> list[str]:
    """What stays here: a line a module, since what imports it fails on the cluster alone; of the rest a line a reason,
    with how many and the first names.
    """
    modules = [name for name in left_out if is_module(name)]
    shown = modules[:_MAX_MODULES]
    lines = [f"left out, code: {name} ({left_out[name]}): what imports it fails" for name in shown]
    if len(modules) > _MAX_MODULES:
        lines.append(f"left out, code: {len(modules) - _MAX_MODULES} more files; --dry-run lists them")
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        if not is_module(name):
            reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        more = f" and {len(names) - first} more" if len(names) > first else ""
        lines.append(f"left out, {why}: {', '.join(names[:first])}{more}")
    return [mask_text(line, secrets) for line in lines]


def _keys(plan: JobPlan) -> str:
    if "DIPO_SECRETS_FILE" in plan.runtime_env["env_vars"]:
        return "read on the cluster from the file of --secrets-file; no value is sent"
    kept = f"; set here and not sent: {', '.join(plan.not_sent)}" if plan.not_sent else ""
    return f"from the cluster's own environment{kept}"


def total_text(uploads: list[Upload]) -> str:
    """Number and size of all files."""
    return f"{sum(len(one.files) for one in uploads)} files, {size_text(sum(one.size for one in uploads))}"


def size_text(size: int) -> str:
    """Bytes in a unit that a person reads."""
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
