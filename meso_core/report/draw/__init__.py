"""What the report shows: pictures as data, outlines as paths, plots as SVG, traces in few bytes."""
