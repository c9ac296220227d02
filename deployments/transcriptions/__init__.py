"""Transcriptions on faster-whisper."""
