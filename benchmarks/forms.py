"""Real gold answers in the forms in which models write them, and the same golds with one mistake, by three graders.

    python benchmarks/forms.py [--data-dir DIR] [--sets gsm8k_test,math500] [--limit N] [--others N] [--show N]

Forms: every gold of each set (the first N with --limit) in every form that suits it; the share that is judged correct.
Mistakes: every gold with one digit, sign, bracket, variable or limit changed; the share that is judged correct, which
should be none: what is equal by value (a - b as -b + a, an order that does not count) is made again or left out. Ours
judges all of them; math-verify and OpenRLHF's grader the first N golds of each set (--others). --show lists what ours
refuses of the forms and accepts of the mistakes.
"""

from __future__ import annotations

import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grading
from common import DATA_DIR, command, header, machine, row

from dipo_eval.grading import grade_math
from dipo_eval.grading.math.compare_parts import read_gold
from dipo_eval.grading.math.grade import joined
from dipo_eval.grading.pool import shared_pool

SETS = "gsm8k_test,math500,olympiadbench,aime24,aime25,amc23,math_rl_train"
_AND = r" \quad \text{and} \quad "
Gold = str | list[str]


def _any(gold: str) -> bool:
    return True


def _is_value(gold: str) -> bool:
    """One number or closed form: what a unit, a label or a currency may stand beside."""
    plain = re.sub(r"\\[a-zA-Z]+", "", gold)
    return not re.search(
        r"[A-Za-z]{2}|[=<>,:]|\\(?:le|ge|in|cup|pm|text|mbox|begin|circ|%|\$)|[%$_]|^[(\[]", plain + gold
    )


def _is_math(gold: str) -> bool:
    return not re.search(r"\\(?:text|mbox|textbf|mathrm)", gold) and not re.fullmatch(
        r"\(?[A-Za-z .]+\)?", gold
    )


def _is_plain_number(gold: str) -> bool:
    return re.fullmatch(r"-?\d+", gold) is not None


def _is_large(gold: str) -> bool:
    return re.fullmatch(r"\d{4,}", gold) is not None


def _is_structure(gold: str) -> bool:
    inner = re.sub(r"\\(?:left|right)", "", gold).strip()
    return inner.startswith(("(", r"\{", r"\begin{pmatrix}")) and not re.search(
        r"=|\\cup|\\text|\)\s*,", inner
    )


def _two_parts(gold: str) -> bool:
    return r"\pm" not in gold and _is_math(gold) and len(_parts(gold)) == 2


def _parts(gold: str) -> list[str]:
    part = read_gold(gold)
    return [item.text for item in part.items] if part.kind == "list" else [gold]


def _is_pair(gold: str) -> bool:
    return _is_structure(gold) and gold.count(",") == 1 and "(" in gold[:6]


def _boxes(gold: str, between: str) -> str:
    return between.join(rf"\boxed{{{part}}}" for part in _parts(gold))


def _bare(gold: str) -> str:
    return re.sub(r"\\?\$", "", gold)


def _grouped(gold: str) -> str:
    return f"{int(gold):,}"


# name, the golds that it suits, the response
FORMS: list[tuple[str, Callable[[str], bool], Callable[[str], str]]] = [
    ("boxed", _any, lambda g: rf"It follows that $\boxed{{{g}}}$."),
    ("display", _any, lambda g: f"So\n\\[\n\\boxed{{{g}}}\n\\]"),
    ("fbox", _any, lambda g: rf"$\fbox{{{g}}}$"),
    ("dollars in the box", _any, lambda g: rf"\boxed{{${g}$}}"),
    ("full stop in the box", _any, lambda g: rf"\boxed{{{g}.}}"),
    ("draft in a thought", _any, lambda g: f"<think>Perhaps \\boxed{{7777}}? No.</think>\nThe answer is ${g}$."),
    ("thought without its start", _any, lambda g: f"so \\boxed{{7777}}? No.\n</think>\n\n\\boxed{{{g}}}"),
    ("Harmony", _any, lambda g: "<|channel|>analysis<|message|>\\boxed{7777}<|end|><|start|>assistant<|channel|>final"
     f"<|message|>**Answer:** \\({g}\\)<|return|>"),
    ("end mark", _any, lambda g: rf"\boxed{{{g}}}<|im_end|>"),
    ("empty box after it", _any, lambda g: f"\\boxed{{{g}}}\n\nI was told to use \\boxed{{}}."),
    ("echoed box after it", _any, lambda g: f"\\boxed{{{g}}}\n\n(The form is \\boxed{{...}}.)"),
    ("an earlier box", _any, lambda g: f"First \\boxed{{7777}}. Wait, that is wrong.\n\nNow \\boxed{{{g}}}"),
    ("a later statement", _is_value, lambda g: f"The sum is $\\boxed{{7777}}$. Final Answer: The final answer is ${g}$."),
    ("the answer is", _any, lambda g: f"The answer is ${g}$."),
    ("Minerva", _any, lambda g: f"Final Answer: The final answer is ${g}$. I hope it is correct."),
    ("answer in parentheses", _any, lambda g: f"Therefore, the answer is \\({g}\\)."),
    ("display after a heading", _any, lambda g: f"**Final Answer**\n\n$$\n{g}\n$$"),
    ("display after Final Answer:", _any, lambda g: f"Final Answer:\n\\[\n{g}\n\\]"),
    ("heading and value", _is_value, lambda g: f"## Answer\n\n{g}"),
    ("bold heading and value", _is_value, lambda g: f"**Final Answer**\n\n**{g}**"),
    ("hashes", _is_value, lambda g: f"Done.\n#### {g}"),
    ("answer tag", _any, lambda g: f"<think>7777?</think> <answer> {g} </answer>"),
    ("answer tag with dollars", _any, lambda g: f"<answer>${g}$</answer>"),
    ("back-quotes", _is_value, lambda g: f"The answer is `{g}`."),
    ("bold", _is_value, lambda g: f"The answer is **{g}**."),
    ("and a remark", _is_value, lambda g: f"The answer is ${g}$. This answer is correct."),
    ("Chinese", _any, lambda g: f"\u6700\u7ec8\u7b54\u6848\u662f\uff1a${g}$\u3002"),
    ("bold symbol", _is_math, lambda g: rf"\boxed{{\boldsymbol{{{g}}}}}"),
    ("bm", _is_math, lambda g: rf"\boxed{{\bm{{{g}}}}}"),
    ("mathbf", _is_math, lambda g: rf"\boxed{{\mathbf{{{g}}}}}"),
    ("colour", _any, lambda g: rf"\boxed{{\textcolor{{red}}{{{g}}}}}"),
    ("underlined", _any, lambda g: rf"\boxed{{\underline{{{g}}}}}"),
    ("display style", _any, lambda g: rf"\boxed{{\displaystyle {g}}}"),
    ("aligned", _is_value, lambda g: rf"\boxed{{\begin{{aligned}} {g} \end{{aligned}}}}"),
    ("stars in the box", _is_value, lambda g: rf"\boxed{{**{g}**}}"),
    ("label", lambda g: _is_value(g) or _is_structure(g), lambda g: rf"\boxed{{P = {g}}}"),
    ("label in words", _is_value, lambda g: rf"\boxed{{\text{{Answer: }} {g}}}"),
    ("label of two", lambda g: _is_pair(g), lambda g: rf"\boxed{{(x, y) = {g}}}"),
    ("units", _is_value, lambda g: rf"\boxed{{{g} \text{{ units}}}}"),
    ("square units", _is_value, lambda g: rf"\boxed{{{g} \text{{ square units}}}}"),
    ("metres", _is_plain_number, lambda g: rf"\boxed{{{g}\ \mathrm{{m}}}}"),
    ("centimetres", _is_value, lambda g: rf"\boxed{{{g}\text{{ cm}}}}"),
    ("words before it", _is_value, lambda g: rf"\boxed{{\text{{approximately }} {g}}}"),
    ("dollars", _is_plain_number, lambda g: rf"\boxed{{\${g}}}"),
    ("pounds", _is_plain_number, lambda g: rf"\boxed{{\u00a3{g}}}".replace(r"\u00a3", "\u00a3")),
    ("thousands", _is_large, lambda g: rf"\boxed{{{_grouped(g)}}}"),
    ("thousands and a label", _is_large, lambda g: rf"\boxed{{x = {_grouped(g)}}}"),
    ("thousands and words", _is_large, lambda g: rf"\boxed{{\text{{Total: }} \${_grouped(g)} \text{{ in all}}}}"),
    ("a sentence", _is_plain_number, lambda g: f"<answer>Jack has ${g} now.</answer>"),
    ("a sentence in the box", _is_plain_number, lambda g: rf"\boxed{{\text{{The answer is {g}.}}}}"),
    ("a last sentence", _is_plain_number, lambda g: f"We add them up.\n\nSo the total is {g}."),
    ("a decimal point", _is_plain_number, lambda g: rf"\boxed{{{g}.0}}"),
    ("two boxes and", _two_parts, lambda g: f"$${_boxes(g, _AND)}$$"),
    ("two boxes in lines", _two_parts, lambda g: f"\\boxed{{{_parts(g)[1]}}}\n\\boxed{{{_parts(g)[0]}}}"),
    ("two parts or", _two_parts, lambda g: rf"\boxed{{{_parts(g)[0]} \text{{ or }} {_parts(g)[1]}}}"),
]  # fmt: skip

_DIGIT, _SIGN = re.compile(r"\d"), re.compile(r"(?<=[\w})])\s*[+-](?=\s*[\w\\(])|^-")
_NAME = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z](?![a-zA-Z}])")
MOST = 4
_BRACKETS = {"(": "[", "[": "(", ")": "]", "]": ")"}


def mistakes(gold: str, generator: random.Random) -> list[str]:
    """``gold`` with one digit, sign, variable or closing bracket changed: each digit and sign once, four at most."""
    made = []
    for one in list(_DIGIT.finditer(gold))[:MOST]:
        at = one.start()
        made.append(gold[:at] + str((int(gold[at]) + generator.randint(1, 9)) % 10) + gold[at + 1 :])
    for one in list(_SIGN.finditer(gold))[:MOST]:
        at = one.end() - 1
        made.append(gold[:at] + ("-" if gold[at] == "+" else "" if at == 0 else "+") + gold[at + 1 :])
    wordy = re.search(r"\\text|\\mathrm|\\(?:in|le|ge)|[=<>]", gold)  # where a name may not count
    for one in list(_NAME.finditer(gold))[: 0 if wordy else 1]:
        at = one.start()
        made.append(gold[:at] + ("q" if gold[at] != "q" else "r") + gold[at + 1 :])
    if re.match(r"^(?:\\left)?[(\[].*,.*[)\]]$", gold) and r"\infty" not in gold[-10:]:
        made.append(gold[:-1] + _BRACKETS[gold[-1]])
    return made


def golds_of(path: Path) -> list[Gold]:
    if not path.exists():
        raise SystemExit(f"{path} not found; give --data-dir or set DIPO_DATA_DIR")
    return [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]


def judged(grader: grading.Grader, response: str, gold: Gold) -> bool:
    """Whether a grader says correct; one that raises or takes too long says no."""
    try:
        signal.alarm(grading.ALARM_S)
        return grader(response, joined(gold))
    except Exception:
        return False
    finally:
        signal.alarm(0)


def share(right: int, total: int) -> str:
    return f"{right}/{total} ({100 * right / total:.1f}%)" if total else "-"


def main(
    data_dir: Path = DATA_DIR, sets: str = SETS, limit: int = 10**9, others: int = 100, show: int = 0,
) -> None:  # fmt: skip
    signal.signal(signal.SIGALRM, grading._raise)
    graders = (grading.ours, grading.math_verify, grading.openrlhf)
    for name in sets.split(","):
        golds = golds_of(data_dir / f"{name}.jsonl")[:limit]
        texts = [_bare(joined(gold)) for gold in golds]
        counts: dict[str, Counter[str]] = {form: Counter() for form, _, _ in FORMS}
        shown: Counter[str] = Counter()
        for index, (gold, text) in enumerate(zip(golds, texts, strict=True)):
            for form, suits, make in FORMS:
                if not suits(text):
                    continue
                for grader in graders if index < others else graders[:1]:
                    correct = judged(grader, make(text), gold)
                    counts[form][f"{grader.__name__} of"] += 1
                    counts[form][grader.__name__] += correct
                    if grader is grading.ours and not correct and shown[form] < show:
                        shown[form] += 1
                        verdict = grade_math(make(text), gold)
                        print(
                            f"refused {name} {form!r}: {text!r} {verdict.reason}: {verdict.extracted!r}",
                            flush=True,
                        )
        wrong: Counter[str] = Counter()
        generator = random.Random(0)
        for index, (gold, text) in enumerate(zip(golds, texts, strict=True)):
            for mistake in mistakes(text, generator):
                for grader in graders if index < others else graders[:1]:
                    correct = judged(grader, rf"\boxed{{{mistake}}}", gold)
                    wrong[f"{grader.__name__} of"] += 1
                    wrong[grader.__name__] += correct
                    if grader is grading.ours and correct and show:
                        print(f"accepted {name}: {mistake!r} for {text!r}", flush=True)
        print(f"\n{name}, {len(golds)} golds\n")
        header("form", *(grader.__name__ for grader in graders))
        for form, count in [*counts.items(), ("one mistake", wrong)]:
            if count:
                row([form, *(share(count[one.__name__], count[f"{one.__name__} of"]) for one in graders)])
    print(f"\n{machine()}")
    shared_pool().close()


if __name__ == "__main__":
    command(main, __doc__)
