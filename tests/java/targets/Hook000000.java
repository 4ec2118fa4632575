package targets;

import java.lang.invoke.MethodHandles;

/** As long as nothing overrides its method, compilers bind calls of that to it. */
public class Hook000000 {
    /** What may define hidden classes beside this one. */
    public static MethodHandles.Lookup lookup() {
        return MethodHandles.lookup();
    }

    public void on(Churn.Link next, Churn.Call call) throws Throwable {
        next.go(call);
    }
}
