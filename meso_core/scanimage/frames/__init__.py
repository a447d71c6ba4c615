"""Pages as streams of arrays, whether they belong together, and the movies that are cut from them."""
