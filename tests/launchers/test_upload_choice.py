"""Which files of a folder travel, which stay, and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.launchers.upload import choice as upload_choice
from dipo_openrlhf.launchers.upload.choice import choose

TRAVEL = (
    "reward.py", "deep/er/tool.py", "auth/login.py", "token.py", "recipe.yaml", "setup.cfg", "run.sh", "chat.jinja",
    "prompt.j2", "README.md", "model_config.json", "requirements.txt", "tokenizer_config.json", "special_tokens_map.json",
    "label_key.txt", "kernel.cu", "vocab.txt",
)  # fmt: skip
STAY = {
    "weights.safetensors": "not code", "data.jsonl": "not code", "a.parquet": "not code", "noending": "not code",
    ".hidden.yaml": "hidden", ".vscode/": "hidden folder", ".git/": "hidden folder", "venv/": "an environment",
    "env/": "an environment", "__pycache__/": "an environment", "runs/": "an environment", "ID_RSA": "may hold keys",
    "deep/SECRETS.yaml": "may hold keys", "deep/.aws/": "may hold keys", "Token.TXT": "may hold keys",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    for name in (*TRAVEL, *STAY):
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            (path / "inner.py").write_text("x")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    (root / "env" / "pyvenv.cfg").write_text("")
    return root


def test_code_and_configuration_travel_and_the_rest_is_listed(folder):
    choice = choose(folder, [])
    assert sorted(choice.files) == sorted(TRAVEL)
    assert choice.left_out.keys() == STAY.keys()
    for name, words in STAY.items():
        reason = choice.left_out[name]
        assert reason.startswith(words.split()[0]) or words == "hidden folder", (name, reason)
    assert set(choice.files.values()) == {1}


def test_include_adds_and_never_what_may_hold_keys(folder):
    choice = choose(folder, [], include=["*.jsonl", "/.hidden.yaml", "*"])
    assert {"data.jsonl", ".hidden.yaml", "weights.safetensors"} < choice.files.keys()
    assert choice.files.keys().isdisjoint({"ID_RSA", "deep/SECRETS.yaml", "Token.TXT"})
    for pattern, words in (
        ("ID_RSA", r"--include 'ID_RSA': ID_RSA stays here \(may hold keys\)"),
        ("none.bin", "no file that could be sent has such a name"),
    ):
        with pytest.raises(UserError, match=words):
            choose(folder, [], include=[pattern])


WORDS = (
    "ds/secret_santa.jsonl", "ds/deep/passwords.csv", "ds/token.json", "ds/keys/rows.jsonl", "ds/chat_history/a.jsonl",
)  # fmt: skip


def test_a_word_for_keys_in_a_name_does_not_keep_what_is_named(folder):
    """Data of a named folder, and what --include names; their content is looked into before it is sent."""
    for name in WORDS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    stays = choose(folder, [])
    for name in (WORDS[0], WORDS[2]):
        assert stays.left_out[name] == upload_choice.MAY_BE_ADDED
    choice = choose(folder, [("data.prompt_dataset", "ds")])
    assert set(WORDS) < choice.files.keys()
    assert set(WORDS) <= choice.suspect & choice.named
    for name in WORDS:
        assert name in choose(folder, [("data.prompt_dataset", name)]).files
        for pattern in (name, f"/{name}"):
            assert name in choose(folder, [], include=[pattern]).files, pattern
        assert name not in choose(folder, [], include=["*", "*.*"]).files


@pytest.mark.parametrize(
    "name",
    [".netrc", ".npmrc", ".env", "id_rsa", "id_work", "a.pem", "credentials.json", "aws_credentials.json", "secrets.toml",
     "service-account-1.json", "service_account.json", "client_secret_5.json", "hf_token.txt", "secrets.yaml",
     "a.secret"],
)  # fmt: skip
def test_key_files_stay_whoever_names_them(folder, name):
    (folder / "ds").mkdir()
    (folder / "ds" / name).write_text("x")
    assert f"ds/{name}" not in choose(folder, [], include=["*"]).files
    for pattern in (name, f"/ds/{name}"):
        with pytest.raises(UserError, match=r"stays here \(may hold keys\)"):
            choose(folder, [], include=[pattern])
    with pytest.raises(UserError, match=r"is not sent \(may hold keys\)"):
        choose(folder, [("data.prompt_dataset", f"ds/{name}")])
    if not name.startswith("."):
        with pytest.raises(UserError, match=r"its ds/\S+ is not sent \(may hold keys\)"):
            choose(folder, [("data.prompt_dataset", "ds")])


def test_a_module_travels_whatever_word_is_in_its_name(folder):
    modules = (
        "password_gen.py",
        "secretary_problem.py",
        "keys/util.py",
        "my_secrets/a.py",
        "hf_token.py",
        "id_x/a.py",
    )
    for name in (*modules, "keys/notes.txt", "tools_with_auth.json", "set_secrets.sh", ".ssh/a.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    choice = choose(folder, [])
    assert set(modules) < choice.files.keys()
    for name in ("keys/notes.txt", "tools_with_auth.json", "set_secrets.sh"):
        assert choice.left_out[name] == upload_choice.MAY_BE_ADDED
        assert name in choose(folder, [], include=[name]).files
    assert choice.left_out[".ssh/"] == "may hold keys"
    (folder / "linked.py").symlink_to("deep/SECRETS.yaml")
    assert choose(folder, []).left_out["linked.py"] == "may hold keys"


def test_exclude_wins_over_include_and_over_the_recipe(folder):
    choice = choose(folder, [], exclude=["*.jsonl", "/deep/"], include=["weights.safetensors"])
    assert choice.left_out["deep/"] == "--exclude"
    assert choice.left_out["data.jsonl"] == "--exclude"
    with pytest.raises(
        UserError, match=r"data\.x: 'data\.jsonl': is not sent \(--exclude\): use a narrower pattern"
    ):
        choose(folder, [("data.x", "data.jsonl")], exclude=["*.jsonl"])


def test_gitignore_applies_to_its_own_folder(folder):
    (folder / "deep" / ".gitignore").write_text("tool.py\nreward.py\n")
    (folder / ".rayignore").write_text("run.sh\n!run.sh\nchat.*\n")
    choice = choose(folder, [])
    assert {name for name, why in choice.left_out.items() if why == upload_choice.IGNORED} == {
        "deep/er/tool.py", "chat.jinja",
    }  # fmt: skip
    assert "reward.py" in choice.files  # the pattern is for another folder
    assert ".rayignore" not in choose(folder, [], include=["*"]).files  # Ray would apply it


def test_an_ignored_folder_is_one_entry_unless_something_of_it_is_sent(folder):
    (folder / ".rayignore").write_text("/deep/\n")
    choice = choose(folder, [])
    assert {name: why for name, why in choice.left_out.items() if name.startswith("deep")} == {
        "deep/": upload_choice.IGNORED,
        "deep/.aws/": upload_choice.KEYS,
        "deep/SECRETS.yaml": upload_choice.KEYS,
    }
    choice = choose(folder, [], include=["deep/er/tool.py"])
    assert "deep/er/tool.py" in choice.files
    assert "deep/" not in choice.left_out


def test_what_the_recipe_names_travels_whatever_it_is(folder):
    (folder / ".gitignore").write_text("*.jsonl\n")
    (folder / "runs" / "step5").mkdir()
    (folder / "runs" / "step5" / "model.safetensors").write_text("xx")
    (folder / "runs" / "step5" / ".gitattributes").write_text("x")
    named = [("data.x", "data.jsonl"), ("model", "./runs/../runs/step5/")]
    choice = choose(folder, named)
    assert choice.files["data.jsonl"] == 1
    assert choice.files["runs/step5/model.safetensors"] == 2
    assert choice.named == {"data.jsonl", "runs/step5/model.safetensors"}
    assert "runs/inner.py" not in choice.files


def test_a_large_file_travels_only_if_it_is_named(folder):
    with open(folder / "large.json", "wb") as file:
        file.truncate(11 * 2**20)
    assert choose(folder, []).left_out["large.json"] == "over 10 MiB, and not named by the recipe"
    assert "large.json" in choose(folder, [("data.x", "large.json")]).files


@pytest.mark.parametrize(
    ("target", "link", "reason"),
    [
        ("../outside/plain.py", "link.py", "a link out of this folder"),
        ("../outside", "link", "a link out of this folder"),
        ("/etc/hostname", "link.txt", "a link out of this folder"),
        ("gone.py", "link.py", "a link to nothing, or round in a circle"),
        ("link.py", "link.py", "a link to nothing, or round in a circle"),
        ("deep/SECRETS.yaml", "link.yaml", "may hold keys"),
        (".git", "link", "may hold keys or hidden"),
        (".", "link", "a link to nothing, or round in a circle"),
        ("..", "deep/link", "a link to nothing, or round in a circle"),
    ],
)  # fmt: skip
def test_links_out_of_the_folder_are_not_followed(folder, target, link, reason):
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside" / "plain.py").write_text("x")
    if target == ".git":
        (folder / ".git").rename(folder / ".ssh")
        target, reason = ".ssh", "may hold keys"
    (folder / link).symlink_to(target)
    choice = choose(folder, [])
    assert sorted(choice.files) == sorted(TRAVEL)
    assert choice.left_out.get(link, choice.left_out.get(f"{link}/")) == reason
    if target != "..":
        with pytest.raises(UserError, match=rf"key: '{link}': .*({reason.split(',')[0]})"):
            choose(folder, [("key", link)])


def test_a_link_inside_the_folder_travels_as_what_it_leads_to(folder):
    (folder / "copy.py").symlink_to("reward.py")
    (folder / "package").symlink_to("deep")
    choice = choose(folder, [])
    assert {"copy.py", "package/er/tool.py"} < choice.files.keys()
    assert choice.left_out["package/SECRETS.yaml"] == "may hold keys"


def test_a_link_in_a_named_folder_is_reported(folder):
    (folder.parent / "blob").write_text("x")
    (folder / "snapshot").mkdir()
    (folder / "snapshot" / "model.safetensors").symlink_to("../../blob")
    with pytest.raises(
        UserError, match=r"its snapshot/model\.safetensors is not sent \(a link out of this folder\)"
    ):
        choose(folder, [("actor.model_name_or_path", "snapshot")])


def test_special_and_unreadable_files(folder, monkeypatch):
    os.mkfifo(folder / "pipe.py")
    assert choose(folder, []).left_out["pipe.py"] == "not a regular file"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "reward.py")
    with pytest.raises(
        UserError, match=r"reward\.py: cannot be read, so it cannot be sent: exclude it with --exclude"
    ):
        choose(folder, [])
    assert "reward.py" not in choose(folder, [], exclude=["reward.py"]).files


def test_a_folder_of_too_many_files_is_refused(folder, monkeypatch):
    monkeypatch.setattr(upload_choice, "MAX_ENTRIES", 12)
    with pytest.raises(UserError, match="more than 12 files: submit from the folder of the project alone"):
        choose(folder, [])


def test_an_exclude_that_is_close_to_a_name_is_refused(folder, capsys):
    (folder / "data.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"--exclude 'dta.jsonl': .* did you mean data.jsonl\?"):
        choose(folder, [], exclude=["dta.jsonl"])
    choose(folder, [], exclude=["outputs"])  # of the run, before its first start
    assert "--exclude 'outputs': nothing here has such a name yet" in capsys.readouterr().err
