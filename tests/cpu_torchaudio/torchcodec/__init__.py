"""Where torchcodec's own build for this torch is not at hand: coqui-tts wants to see it, and torchaudio calls it."""
