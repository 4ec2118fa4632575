package targets;

/** Ways through exceptions that are made and thrown. */
final class Throwing {
    private static Allocation filling;

    private Throwing() {}

    private static final class Taking extends RuntimeException {
        private static final long serialVersionUID = 1;

        Taking(Allocation allocation) {
            super("expected");
            allocation.take();
        }
    }

    static void inException(Allocation allocation) {
        try {
            throw new Taking(allocation);
        } catch (Taking expected) {
            return;
        }
    }

    private static final class Filling extends RuntimeException {
        private static final long serialVersionUID = 1;

        @Override
        public synchronized Throwable fillInStackTrace() {
            filling.take();
            return super.fillInStackTrace();
        }
    }

    /** {@code Throwable} calls an overridden method while it is made. */
    static void inStackTrace(Allocation allocation) {
        filling = allocation;
        try {
            throw new Filling();
        } catch (Filling expected) {
            filling = null;
        }
    }

    /** Some frames are gone already, others will be. */
    static void whileUnwinding(Allocation allocation) {
        try {
            fail(4, allocation);
        } catch (IllegalStateException expected) {
            return;
        }
    }

    private static void fail(int depth, Allocation allocation) {
        try {
            if (depth == 0) {
                throw new IllegalStateException("expected");
            }
            fail(depth - 1, allocation);
        } finally {
            if (depth == 2) {
                allocation.take();
            }
        }
    }
}
