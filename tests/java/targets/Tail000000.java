package targets;

/** Overrides what compilers relied on: what they made of it is deoptimised when this is loaded, also while it runs. */
public final class Tail000000 extends Hook000000 {
    @Override
    public void on(Churn.Link next, Churn.Call call) {}
}
