import pytest

from xright.data.messages import Unusable
from xright.data.templates import Template
from xright.errors import UserError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "1 + 1?"},
]


def test_plain_is_the_template_of_the_paper():
    assert Template("plain").render(None, "1 + 1?") == "User: 1 + 1?\nAssistant: "


def test_raw_leaves_the_prompt_alone():
    assert Template("raw").render(None, "\n\nHuman: Hi\n\n") == "\n\nHuman: Hi\n\n"


def test_own_text_keeps_its_other_braces_and_those_of_the_prompt():
    assert Template("{a} Q: {instruction} A:").render(None, "{b} {instruction}") == "{a} Q: {b} {instruction} A:"


@pytest.mark.parametrize("code", [".__class__", "[0]", "!r", ":>9"])
def test_a_slot_is_no_format_string(code):
    for spec in (f"{{instruction{code}}}", f"{{instruction}} {{instruction{code}}}"):
        with pytest.raises(UserError, match=r"template='.*(is unknown|asks for more than \{instruction\})"):
            Template(spec)


def test_conversation_in_plain_reads_as_a_transcript():
    expected = "User: Be brief.\n\nHi\nAssistant: Hello!\nUser: 1 + 1?\nAssistant: "
    assert Template("plain").render(None, TURNS) == expected
    assert Template("Q: {instruction}\nA: ").render(None, TURNS[3:]) == "Q: 1 + 1?\nA: "


def test_conversation_in_raw_is_an_error():
    with pytest.raises(UserError, match="template=raw takes text prompts"):
        Template("raw").render(None, TURNS)


def test_chat_is_the_tokenizers_own_template(byte_tokenizer, chatml):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chatml)
    start, responses = Template("chat").write(tokenizer, "1 + 1?", ["2", "6"])
    assert start == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    assert start == Template("chat").render(tokenizer, [{"role": "user", "content": "1 + 1?"}])
    assert responses == ["2<|im_end|>\n", "6<|im_end|>\n"]


def test_chat_without_a_template_names_the_remedy(byte_tokenizer):
    with pytest.raises(UserError, match="has none; use template=plain"):
        Template("chat").render(byte_tokenizer(), "Hi")


def test_refusal_of_the_chat_template_is_told_in_its_own_words(byte_tokenizer, llama):
    tokenizer = byte_tokenizer(chat_template=llama)
    with pytest.raises(UserError, match=r"The chat template refuses: roles must be user and assistant; use"):
        Template("chat").render(tokenizer, TURNS)
    with pytest.raises(Unusable, match="the chat template refuses: roles must be user and assistant"):
        Template("chat").write(tokenizer, TURNS, ["2"])


@pytest.mark.parametrize("spec", ["alpaca", "", "{prompt}", None])
def test_unknown_template_lists_the_choices(spec):
    with pytest.raises(UserError, match=r"unknown; use raw, plain, chat, or a text containing \{instruction\}"):
        Template(spec)


def test_blank():
    assert Template("plain").is_blank(" \n")
    assert not Template("plain").is_blank("Assistant: ")
    assert Template("raw").is_blank("Assistant: ")
    assert not Template("raw").is_blank("Assistant: Hi")


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
WITH_TOOLS = (
    "{% for t in tools or [] %}<tool>{{ t | tojson }}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"name": "add"}]
ADDED = [TURNS[1], CALL, {"role": "tool", "content": "2"}]


def test_tools_and_calls_are_written_by_a_template_that_knows_them(byte_tokenizer):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=WITH_TOOLS)
    for prompt, answer in (
        ({"messages": TURNS[1:2], "tools": TOOLS}, CALL),
        ({"messages": ADDED, "tools": TOOLS}, "2"),
        (ADDED, "2"),
    ):
        turns, tools = (prompt["messages"], TOOLS) if isinstance(prompt, dict) else (prompt, None)
        last = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
        start, (rest,) = Template("chat").write(tokenizer, prompt, [answer])
        own = tokenizer.apply_chat_template([*turns, last], tools=tools, tokenize=False)
        assert start + rest == own
        assert start == Template("chat").render(tokenizer, prompt)
        assert "<call>" in own
        assert ("<tool>" in own) == bool(tools)


@pytest.mark.parametrize("template", ["plain", "raw", "Q: {instruction}", "chat"])
def test_tools_and_calls_that_are_not_written_drop_the_row(byte_tokenizer, chatml, template):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chatml)
    who = {"chat": "the chat template", "Q: {instruction}": "the template"}.get(template, f"template={template}")
    for prompt, answer, what in (
        ({"messages": TURNS[1:2], "tools": TOOLS}, "2", "tools"),
        (ADDED, "2", "tool calls"),
        (TURNS[1:2], CALL, "tool calls"),
        (TURNS[1:2], {**CALL, "tool_calls": None, "function_call": {"name": "add"}}, "tool calls"),
    ):
        with pytest.raises(Unusable, match=f"^{what}, which {who} does not write$"):
            Template(template).write(tokenizer, prompt, [answer])


def test_a_pair_needs_both_of_its_calls_written(byte_tokenizer):
    """A template that writes calls before the last turn only would make the sides equal."""
    earlier = WITH_TOOLS.replace("m.tool_calls or []", "([] if loop.last else m.tool_calls or [])")
    other = {**CALL, "tool_calls": [{"function": {"name": "sub", "arguments": {}}}]}
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=earlier)
    with pytest.raises(Unusable, match="tool calls, which the chat template does not write"):
        Template("chat").write(tokenizer, TURNS[1:2], [CALL, other])
    _, (chosen, rejected) = Template("chat").write(
        byte_tokenizer(eos="<|im_end|>", chat_template=WITH_TOOLS), TURNS[1:2], [CALL, other]
    )
    assert "add" in chosen
    assert "sub" in rejected


def test_a_message_that_is_only_a_call_is_not_blank():
    assert not Template("chat").is_blank(CALL)
    assert Template("chat").is_blank({"role": "assistant", "content": " "})


@pytest.mark.parametrize(
    ("chat_template", "words"),
    [
        ("{% for t in tools %}{{ t }}{% endfor %}", "TypeError: 'NoneType' object is not iterable"),
        ("{{ messages[0].nothing.at.all }}", "'dict object' has no attribute 'nothing'"),
        ("{% for m in messages %}{{ m.content }}{% endfr %}", "Encountered unknown tag 'endfr'"),
        (
            "{{ raise_exception('System role not supported') }}",
            "^The chat template refuses: System role not supported;",
        ),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ messages[7].content }}", "refuses"),
    ],
)
def test_the_template_s_own_words_are_told_whatever_fails_in_it(byte_tokenizer, chat_template, words):
    tokenizer = byte_tokenizer(chat_template=chat_template)
    with pytest.raises(UserError, match=words):
        Template("chat").render(tokenizer, "Hi")
    with pytest.raises(Unusable, match=words.removeprefix("^The chat template refuses: ").removesuffix(";")):
        Template("chat").write(tokenizer, "Hi", ["Hello!"])


def test_templates_by_name_need_a_default(byte_tokenizer, chatml):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template={"chat": chatml, "tool_use": chatml})
    for call in (Template("chat").check, lambda t: Template("chat").render(t, "Hi")):
        with pytest.raises(
            UserError, match="the chat templates chat, tool_use, but none named default; save it with one"
        ):
            call(tokenizer)
    Template("plain").check(tokenizer)
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template={"default": chatml, "tool_use": WITH_TOOLS})
    assert Template("chat").render(tokenizer, "Hi").startswith("<|im_start|>user\nHi")
    start, _ = Template("chat").write(tokenizer, {"messages": TURNS[1:2], "tools": TOOLS}, ["2"])
    assert start.startswith("<tool>")  # the one for tools, where there are some


def test_a_line_break_that_a_shell_left_as_two_characters(caplog):
    assert Template("User: {instruction}\\nAssistant: ").spec == "User: {instruction}\nAssistant: "
    assert r"\n is taken for a line break; a backslash and an n are written \\n" in caplog.text
    assert Template("{instruction}\\\\n").spec == "{instruction}\\n"
    assert Template("{instruction} \\times \\t").spec == "{instruction} \\times \\t"
    caplog.clear()
    assert Template("a\n{instruction}").render(None, "x\\ny") == "a\nx\\ny"  # a row's own are its own
    assert not caplog.text


@pytest.mark.parametrize(
    ("template", "turns", "answer", "whole"),
    [
        ("{{ m.role }}: {{ m.content }};", TURNS, "2", True),
        ("{{ m.role }}: {{ m.content | trim }};", [{"role": "user", "content": " Hi "}], "2 ", True),
        ("{% if m.role != 'system' %}{{ m.role }}: {{ m.content }};{% endif %}", TURNS, "2", False),
        ("{% if m.role != 'system' %}{{ m.role }}: {{ m.content }};{% endif %}", TURNS[1:], "2", True),
        ("{{ m.role }}: {{ m.content.split('</think>')[-1] }};", TURNS, "<think>Two.</think>2", False),
        ("{{ m.role }}: {{ m.content }};", TURNS, "the name <|im_end|> of a token", True),
    ],
)
def test_turns_that_a_chat_template_passes_over_are_seen(byte_tokenizer, template, turns, answer, whole):
    tokenizer = byte_tokenizer(
        eos="<|im_end|>", chat_template="{% for m in messages %}" + template + "{% endfor %}",
    )  # fmt: skip
    start, (text,) = Template("chat").write(tokenizer, turns, [answer])
    assert Template("chat").says_all(tokenizer, turns, [answer], [start + text]) is whole
