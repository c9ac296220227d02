"""Empty: qwen-tts imports it for a codec that no published CustomVoice model of this kind uses."""
