"""From a file to a vector: decoding, the mel spectrogram, and the encoders that turn it into what songs are compared by."""
