"""What vLLM takes beyond OpenAI and is refused here: dropped, the answer would look like one that had heeded it.

What may change an answer and is served, such as `top_k`, is in `app/parameters/generation.py`.
"""

from app.parameters.row import Parameter, refused

BY_OPERATOR = "it is set by the operator."
NO_CUSTOM_CODE = "the engine has no custom extensions here."
TEMPLATE_TOKENS = "the model's own tokenizer and chat template decide."


def constraints(format_name: str) -> tuple[Parameter, ...]:
    """Of the form of an answer. `format_name` is the parameter that has what replaces them."""
    schema = f"use `{format_name}` of type `json_schema`"
    return (
        refused(
            "structured_outputs", f"use `{format_name}`; a `pattern` or an `enum` in its JSON schema does the rest."
        ),
        refused("guided_json", f"{schema}."),
        refused("guided_regex", f"use a `pattern` in the JSON schema of `{format_name}`."),
        refused("guided_choice", f"use an `enum` in the JSON schema of `{format_name}`."),
        refused("guided_grammar", f"grammars are not taken; {schema}."),
        refused("guided_decoding_backend", BY_OPERATOR),
        refused("guided_whitespace_pattern", BY_OPERATOR),
    )


MEDIA = (
    refused("mm_processor_kwargs", BY_OPERATOR),
    refused("media_io_kwargs", BY_OPERATOR),
)
OPERATOR_S = (
    refused("trust_remote_code", BY_OPERATOR),
    *MEDIA,
    refused("watermarking", BY_OPERATOR, absent=(False,)),
    refused("vllm_xargs", NO_CUSTOM_CODE),
)
SEARCH = (  # among the answers that a model may give
    refused("use_beam_search", "use `n` with a `temperature` over 0.", absent=(False,)),
    refused("length_penalty", "it belongs to beam search, which is not supported.", absent=(1.0,)),
    refused("early_stopping", "it belongs to beam search, which is not supported.", absent=(False,)),
    refused("allowed_token_ids", "use an `enum` in the JSON schema of `response_format`, or `logit_bias`."),
    refused("bad_words", "use `logit_bias`.", absent=([],)),
)
CHAT = (
    *SEARCH,
    refused(
        "continue_final_message",
        "the answer is always a new message; ask the model to go on in a last one of the user.",
        absent=(False,),
    ),
    refused("add_generation_prompt", "the answer is always a new message.", absent=(True,)),
    refused("echo", "the answer never repeats a message.", absent=(False,)),
    refused("add_special_tokens", TEMPLATE_TOKENS, absent=(False,)),
    refused("documents", "put them into a message.", absent=([],)),
    refused("truncate_prompt_tokens", "a prompt that is too long is an error; leave messages out."),
    refused("truncation_side", "a prompt that is too long is an error; leave messages out."),
    refused("thinking_token_budget", "use `reasoning_effort`, where the model has it, or `max_completion_tokens`."),
    refused("best_of", "use `n` with a `temperature` over 0.", absent=(1,)),
    refused("repetition_detection", "use `repetition_penalty` or `max_completion_tokens`."),
    refused("max_output_tokens", "it is of /v1/responses; use `max_completion_tokens`."),
)
COMPLETIONS = (
    *SEARCH,
    refused("messages", "it is of /v1/chat/completions; send `prompt`."),
    refused("tools", "/v1/chat/completions and /v1/responses have tools.", absent=([],)),
    refused("truncate_prompt_tokens", "a prompt that is too long is an error; shorten it."),
    refused("truncation_side", "a prompt that is too long is an error; shorten it."),
    refused("thinking_token_budget", "use `max_tokens`."),
    refused("repetition_detection", "use `repetition_penalty` or `max_tokens`."),
    refused("max_completion_tokens", "it is of /v1/chat/completions; use `max_tokens`."),
    refused("max_output_tokens", "it is of /v1/responses; use `max_tokens`."),
)
RESPONSES = (
    refused("previous_input_messages", "send the whole conversation in `input`.", absent=([],)),
    refused("min_tokens", "/v1/chat/completions has it.", absent=(0,)),
    refused("response_format", "use `text.format`."),
    refused("max_tokens", "use `max_output_tokens`."),
    refused("max_completion_tokens", "use `max_output_tokens`."),
    refused("n", "a response has one answer; /v1/chat/completions has it.", absent=(1,)),
)
MESSAGES = (
    refused("stop", "use `stop_sequences`."),
    refused("max_completion_tokens", "use `max_tokens`."),
    refused("response_format", "use `output_config.format`."),
    refused("reasoning_effort", "use `output_config.effort`."),
    refused("parallel_tool_calls", "use `tool_choice.disable_parallel_tool_use`."),
    *(
        refused(name, "/v1/chat/completions has it.")
        for name in (
            "n", "seed", "logit_bias", "min_p", "min_tokens", "presence_penalty", "frequency_penalty",
            "repetition_penalty", "ignore_eos", "stop_token_ids", "logprobs", "top_logprobs",
        )
    ),
)  # fmt: skip
POOLING = (
    refused("truncate_prompt_tokens", "an input that is too long is an error; shorten it."),
    refused("truncation_side", "an input that is too long is an error; shorten it."),
    refused("add_special_tokens", TEMPLATE_TOKENS, absent=(True,)),
    refused("padding", TEMPLATE_TOKENS, absent=("do_not_pad",)),
    refused("use_activation", BY_OPERATOR, absent=(True,)),
    refused("mm_processor_kwargs", BY_OPERATOR),
)
EMBEDDINGS = (
    *POOLING,
    refused("normalize", BY_OPERATOR, absent=(True,)),
    refused("embed_dtype", "vectors are of 32-bit floats.", absent=("float32",)),
    refused("endianness", "base64 holds little-endian floats.", absent=("native", "little")),
)
SCORES = (
    *POOLING,
    refused("max_tokens_per_query", "a query that is too long is an error; shorten it.", absent=(0,)),
    refused("instruction", "put it into the query, where the model was trained with one."),
    refused("chat_template_kwargs", BY_OPERATOR),
)
