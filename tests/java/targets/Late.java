package targets;

import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.atomic.AtomicReference;

/** A loader that defines its own classes itself: what happens once for a class happens once for each loader. */
public final class Late extends ClassLoader {
    /** Enough for each compiler, where compilers begin early. */
    private static final int HOT = 1000;
    private static final Allocation NOTHING = new Allocation(Allocation.Means.NOTHING, 0);

    /** What the class that is initialised next takes. */
    public static final AtomicReference<Allocation> loading = new AtomicReference<>();

    private Late() {
        super(Late.class.getClassLoader());
    }

    /** Public, as all that it uses: it is of another runtime package. */
    public static final class Initialized {
        static {
            loading.get().take();
        }

        private Initialized() {}
    }

    static void initialize(Allocation allocation) throws ClassNotFoundException {
        loading.set(allocation);
        Class.forName("targets.Late$Initialized", true, new Late());
    }

    /** As long as nothing overrides its method, compilers bind calls of that to it. */
    public static class Shape {
        public void enter(Call call) {
            call.goOn();
        }
    }

    /** Overrides it: what was compiled before is deoptimised when this is loaded. */
    public static final class Square extends Shape {
        @Override
        public void enter(Call call) {}
    }

    /** Calls the one method that {@link Shape#enter} can be. */
    public static final class Caller implements Entry {
        private Shape shape = new Shape();

        @Override
        public void enter(Call call) {
            shape.enter(call);
        }
    }

    public interface Entry {
        void enter(Call call);
    }

    /** Takes memory below compiled code, perhaps after having made that code invalid. */
    public static final class Call {
        private final Allocation allocation;
        private final Late invalidates;

        Call(Allocation allocation, Late invalidates) {
            this.allocation = allocation;
            this.invalidates = invalidates;
        }

        /** Through a native method, so that what follows is not inlined. */
        public void goOn() {
            Paths.callPath(this::invalidateAndTake, allocation);
        }

        private void invalidateAndTake(Allocation allocation) throws ClassNotFoundException {
            if (invalidates != null) {
                Class.forName("targets.Late$Square", true, invalidates);
            }
            allocation.take();
        }
    }

    static void deoptimize(Allocation allocation) throws ReflectiveOperationException {
        Late late = new Late();
        Class<?> caller = Class.forName("targets.Late$Caller", true, late);
        Entry entry = (Entry) caller.getConstructor().newInstance();
        Call nothing = new Call(NOTHING, null);
        for (int i = 0; i < HOT; i++) {
            entry.enter(nothing);
        }
        entry.enter(new Call(allocation, late));
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        Class<?> known = findLoadedClass(name);
        if (known != null) {
            return known;
        }
        boolean own = name.startsWith("targets.Late$") && !name.endsWith("Call") && !name.endsWith("Entry");
        if (!own) {
            return super.loadClass(name, resolve);
        }
        try (InputStream file = getResourceAsStream(name.replace('.', '/') + ".class")) {
            byte[] bytes = file.readAllBytes();
            return defineClass(name, bytes, 0, bytes.length);
        } catch (IOException error) {
            throw new ClassNotFoundException(name, error);
        }
    }
}
