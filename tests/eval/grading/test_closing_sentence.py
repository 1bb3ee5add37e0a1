"""The sentence that concludes: an option, a value above a courtesy, a statement in another language."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_math

OPTIONS = (
    "Option D is correct.",
    "**Option D** is correct.",
    "Therefore, option D is the correct answer.",
    "D is the correct answer.",
    "So D is correct.",
    "I choose D.",
    "Thus, (D) is correct.",
    "I'll go with D.",
    "A is wrong because x. B is wrong.\n\nTherefore, option D is the correct answer.\n\nHope this helps!",
)
NO_OPTION = (
    "Option D is incorrect.",
    "Option D is not correct.",
    "I choose D or E.",
    "I choose D and C.",
    "D is the wrong answer.",
    "Neither C nor D is correct.",
    "C or D is correct.",
    "I don't choose D.",
    "I doubt option D is correct.",
    "Is option D correct?",
    "Option D may be correct.",
    "Option D is correct only if C is.",
    "Option C is correct. Option D is correct.",
    "Option D is correct.\nHowever, option C is the best.",
    "No option except D is correct.",
    "Vitamin D is correct.",
    "If D is correct.",
)
COURTESIES = (
    "Let me know if you need more!",
    "Hope this helps!",
    "---",
    "***",
    "I hope this helps! Let me know if you have any questions.",
    "---\n\nFeel free to ask if you have any questions!",
    "Is there anything else I can help you with?",
)
STATED = (
    "La respuesta es {}.",
    "La respuesta final es **{}**.",
    "Die Antwort ist {}.",
    "La réponse est {}.",
    "Réponse : {}",
    "Ответ: {}",
    "Ответ: **{}**.",
    "答え\uff1a{}",
    "答えは{}です。",
    "답: {}",
    "정답: {}",
)
NOT_STATED = (
    "La respuesta no es 18.",
    "Die Antwort ist nicht 18.",
    "La respuesta es 18 o 19.",
    "Die Antwort ist 18 oder 19.",
    "Die Antwort ist 18 Millionen Euro.",
    "Antwort: 18 Tausend",
    "La respuesta es 18 mil.",
    "La respuesta es menos de 18.",
    "La respuesta es 18,5.",
    "Réponse : 18 ou 19",
    "Réponse : 18 mille",
    "Ответ: -18",
    "Ответ: не 18",
    "Ответ: 18 тысяч",
    "答え\uff1a18または19",
    "답: 18만",
    "답: 18 이상",
)


@pytest.mark.parametrize("response", OPTIONS)
def test_the_option_that_is_chosen(response: str) -> None:
    assert grade_math(response, "D").status == "correct"
    assert {grade_math(response, other).status for other in "ABCE"} == {"wrong"}


@pytest.mark.parametrize("response", NO_OPTION)
def test_an_option_that_is_not(response: str) -> None:
    assert grade_math(response, "D").status != "correct"


@pytest.mark.parametrize("courtesy", COURTESIES)
@pytest.mark.parametrize(
    "sentence", ["So, Janet makes **${}** every day.", "She makes {} dollars.", "**{}**", "{}"]
)
def test_a_courtesy_hides_nothing(sentence: str, courtesy: str) -> None:
    response = f"{sentence.format(18)}\n\n{courtesy}"
    assert grade_math(response, "18").status == "correct"
    assert grade_math(response, "19").status == "wrong"


@pytest.mark.parametrize(
    "response",
    [
        "She makes 18 dollars.\n\nLet me check that again.",
        "She makes 18 dollars.\n\nHope this helps! Actually it is 19.",
        "She makes 18 dollars.\n\nLet me know if it is 19.",
        "She might make 18 dollars.\n\nHope this helps!",
        "She makes 18 dollars.\n\nI hope this is not wrong.",
    ],
)
def test_what_goes_on_is_no_courtesy(response: str) -> None:
    assert grade_math(response, "18").status != "correct"


@pytest.mark.parametrize("sentence", STATED)
def test_a_statement_in_another_language(sentence: str) -> None:
    assert grade_math(sentence.format(18), "18").status == "correct"
    assert grade_math(sentence.format(17), "18").status == "wrong"


@pytest.mark.parametrize("response", NOT_STATED)
def test_more_than_the_value_in_another_language(response: str) -> None:
    assert grade_math(response, "18").status != "correct"
