"""Whether the hub gives what a recipe names and this machine does not have: asked once, in seconds."""

from __future__ import annotations

import os

from dipo_eval.errors import UserError, one_line


def check_hub_model(name: str) -> None:
    """Raise UserError, in seconds, where the hub does not give a model that is not in its cache here."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    place = f"actor.model_name_or_path: {name!r}: is no folder here"
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
    except HFValidationError:
        raise UserError(f"{place}, and no name of the hub's (NAME or OWNER/NAME): check it") from None
    if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "True"):
        raise UserError(
            f"{place} and not in the hub's cache, and HF_HUB_OFFLINE is set: give a folder, or unset it"
        )
    try:
        # One request without the retries of a download.
        if HfApi().model_info(name, timeout=10).gated:
            HfApi().auth_check(name)
    except GatedRepoError:
        raise UserError(
            f"{place}, and the hub gives it to those alone who accept its licence: accept it at "
            f"https://huggingface.co/{name}, and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{place}, and the hub has no such model (or a private one: set HF_TOKEN): check the name"
        ) from None
    except Exception as error:  # of huggingface_hub and of two HTTP clients
        raise UserError(
            f"{place}, and the hub cannot be asked ({one_line(error)}): give a folder, or a network"
        ) from None


def check_hub_datasets(names: str) -> None:
    """Raise UserError for a data set that is neither here nor on the hub. Where the hub does not answer, the datasets
    library may have it in its cache, and finds out.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    for one in names.split(","):
        name, place = (
            one.partition("@")[0].strip(),
            f"data.prompt_dataset: {one!r}: is no file or folder here",
        )
        if os.path.exists(os.path.expanduser(name)):
            continue
        try:
            HfApi().dataset_info(name, timeout=10)
        except HFValidationError:
            raise UserError(f"{place}, and no name of the hub's (NAME or OWNER/NAME): check it") from None
        except (GatedRepoError, RepositoryNotFoundError):
            raise UserError(
                f"{place}, and the hub has no such data set (or a private one: set HF_TOKEN): check the name"
            ) from None
        except Exception:  # of huggingface_hub and of two HTTP clients: no network, or HF_HUB_OFFLINE
            continue
