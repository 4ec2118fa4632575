package targets;

/** Methods of which the tests exclude one from compilation: each calls the other. */
final class Mixed {
    private Mixed() {}

    static long compiled(int depth, int a, int b, int c, int d, int e, int f, long g, double h, Allocation allocation) {
        if (depth == 0) {
            allocation.take();
            return a;
        }
        return interpreted(depth - 1, b, c, d, e, f, a, g, h, allocation) + (long) h;
    }

    static long interpreted(int depth, int a, int b, int c, int d, int e, int f, long g, double h, Allocation allocation) {
        return compiled(depth, b, c, d, e, f, a, g, h, allocation) + g;
    }
}
