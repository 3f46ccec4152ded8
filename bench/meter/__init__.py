"""The benchmarks behind the meter's figures. Every figure is judged by an exact integral of a known waveform."""
