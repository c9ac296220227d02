"""What qwen-tts imports; see kaldi.py."""
