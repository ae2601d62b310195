"""OpenAI's client for Python against the gateway, as an application uses it."""

import os
import sys

import openai

URL, TOKEN = os.environ["AI_URL"], os.environ["AI_TOKEN"]
client = openai.OpenAI(base_url=URL, api_key=TOKEN, max_retries=0, timeout=30)


def ask(text, **more):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="gpt-4o", messages=messages, **more)


def a_chat_is_answered_with_its_usage():
    answer = ask("hello")
    assert answer.choices[0].message.content == "Hello! How can I help you today?"
    assert answer.usage.prompt_tokens == 19 and answer.usage.completion_tokens == 10


def a_stream_has_the_text_and_no_usage_that_nobody_asked_for():
    chunks = list(ask("hello", stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "Hello! How can I help you today?"
    assert all(chunk.usage is None for chunk in chunks)


def a_stream_has_the_usage_that_was_asked_for():
    chunks = list(ask("hello", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 10 and chunks[-1].choices == []


def a_tool_is_called_and_its_result_is_read():
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    messages = [{"role": "user", "content": "How is the weather?"}]
    first = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
    call = first.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Paris"}')
    messages += [
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
    assert second.choices[0].message.content == "It is sunny in Paris."


def an_image_passes():
    image = {"url": "data:image/png;base64," + "A" * 300_000}
    content = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": image}]
    messages = [{"role": "user", "content": content}]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.choices[0].message.content


def embeddings_are_made():
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 100


def responses_are_answered_and_streamed():
    assert client.responses.create(model="gpt-4o", input="hello").output_text.startswith("Hello!")
    events = list(client.responses.create(model="gpt-4o", input="hello", stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens == 10


def the_models_are_listed_and_described():
    models = {model.id for model in client.models.list()}
    assert {"gpt-4o", "gpt-4o-mini", "small", "gemini-2.5-flash"} <= models, models
    assert client.models.retrieve("small").owned_by == "openai"


def every_provider_answers():
    for model in ["small", "gpt-4.1", "gemini-2.5-flash", "llama3.2"]:
        messages = [{"role": "user", "content": "hello"}]
        answer = client.chat.completions.create(model=model, messages=messages)
        assert answer.choices[0].message.content == "Hello! How can I help you today?", model


def fails(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, error)
        return error
    raise AssertionError(f"expected {kind.__name__}")


def every_refusal_is_the_exception_that_it_should_be():
    def chat(client=client, model="gpt-4o", text="hello"):
        messages = [{"role": "user", "content": text}]
        return lambda: client.chat.completions.create(model=model, messages=messages)

    error = fails(openai.NotFoundError, "model_not_found", chat(model="nosuchmodel"))
    assert error.param == "model" and error.request_id, error
    stranger = openai.OpenAI(base_url=URL, api_key="nobody", max_retries=0)
    fails(openai.AuthenticationError, "token_malformed", chat(client=stranger))
    fails(openai.BadRequestError, "body_malformed", lambda: ask("hello", n=-1))
    fails(openai.NotFoundError, "not_found", lambda: client.files.list())
    fails(openai.RateLimitError, "rate_limit_exceeded", chat(text="too much"))
    fails(openai.InternalServerError, None, chat(text="break"))
    large = "x" * (11 * 1024 * 1024)
    fails(openai.APIStatusError, "body_too_large", chat(text=large))


def a_stream_can_be_left():
    stream = ask("tell me a long story", stream=True)
    for _, chunk in zip(range(3), stream):
        assert chunk.choices
    stream.close()


def a_stream_that_is_cut_off_is_no_whole_one():
    finished = False
    try:
        for chunk in ask("be cut off", stream=True):
            finished = finished or chunk.choices[0].finish_reason is not None
    except (openai.APIError, openai.APIConnectionError):
        pass
    except Exception as error:  # The transport's own exception for a body without its end.
        assert "peer closed" in str(error) or "incomplete" in str(error), error
    assert not finished


STEPS = [
    a_chat_is_answered_with_its_usage,
    a_stream_has_the_text_and_no_usage_that_nobody_asked_for,
    a_stream_has_the_usage_that_was_asked_for,
    a_tool_is_called_and_its_result_is_read,
    an_image_passes,
    embeddings_are_made,
    responses_are_answered_and_streamed,
    the_models_are_listed_and_described,
    every_provider_answers,
    every_refusal_is_the_exception_that_it_should_be,
    a_stream_can_be_left,
    a_stream_that_is_cut_off_is_no_whole_one,
]

failed = 0
for step in STEPS:
    try:
        step()
        print("ok  ", step.__name__)
    except Exception as error:
        failed += 1
        print("FAIL", step.__name__, type(error).__name__, error)
sys.exit(1 if failed else 0)
