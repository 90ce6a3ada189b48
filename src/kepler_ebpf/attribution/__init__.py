"""Who used the joules: slices and joules of one sample in, a frame out, and the books that keep the frames' sums."""
