package targets;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;

/** A loader that defines its own classes itself: what happens once for a class happens once for each loader. */
public final class Late extends ClassLoader {
    /** Enough for each compiler, where compilers begin early. */
    private static final int HOT = 1000;
    private static final Allocation NOTHING = new Allocation(Allocation.Means.NOTHING, 0);

    /** What the class that is initialised next takes. */
    public static final AtomicReference<Allocation> loading = new AtomicReference<>();

    /** Feature release of the JVM: `1.8`, `9`, `11.0.2`. */
    public static final int RELEASE = release(System.getProperty("java.specification.version"));

    /** Whoever watches reads about a class a moment after it was used: none is unloaded. */
    static final List<Object> kept = Collections.synchronizedList(new ArrayList<>());

    /** What the loading of the next class takes; null for nothing. */
    private Allocation takes;

    private Late() {
        super(Late.class.getClassLoader());
        kept.add(this);
    }

    /** Public, as all that it uses: it is of another runtime package. */
    public static final class Initialized {
        static {
            loading.get().take();
        }

        private Initialized() {}
    }

    private static int release(String version) {
        return Integer.parseInt(version.startsWith("1.") ? version.substring(2) : version);
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

        public boolean isRare() {
            return allocation != NOTHING;
        }

        public void takeNow() {
            allocation.take();
        }

        /** Through a native method, so that what follows is not inlined. */
        public void goOn() {
            Natives.callPath(this::invalidateAndTake, allocation);
        }

        private void invalidateAndTake(Allocation allocation) throws ClassNotFoundException {
            if (invalidates != null) {
                Class.forName("targets.Late$Square", true, invalidates);
            }
            allocation.take();
        }
    }

    /** Compiled without what is behind the condition. */
    public static final class Branch implements Entry {
        private int calls;

        @Override
        public void enter(Call call) {
            calls++;
            if (call.isRare()) {
                calls += 7;
                call.takeNow();
            }
        }
    }

    /** Reaches a branch that was never taken: the compiled code gives up in the midst of the method. */
    static void trap(Allocation allocation) throws ReflectiveOperationException {
        Class<?> branch = Class.forName("targets.Late$Branch", true, new Late());
        Entry entry = (Entry) branch.getConstructor().newInstance();
        Call nothing = new Call(NOTHING, null);
        for (int i = 0; i < HOT; i++) {
            entry.enter(nothing);
        }
        entry.enter(new Call(allocation, null));
    }

    /** Public: it is called by reflection, the first time ever. */
    public static final class Reflected {
        private Reflected() {}

        public static void take(Allocation allocation) {
            allocation.take();
        }
    }

    static void reflect(Allocation allocation) throws ReflectiveOperationException {
        Class<?> reflected = Class.forName("targets.Late$Reflected", true, new Late());
        reflected.getMethod("take", Allocation.class).invoke(null, allocation);
    }

    /** Uses another class for the first time: the JVM asks this loader for it. */
    public static final class User implements Entry {
        @Override
        public void enter(Call call) {
            new Used();
        }
    }

    public static final class Used {}

    static void load(Allocation allocation) throws ReflectiveOperationException {
        Late late = new Late();
        Class<?> user = Class.forName("targets.Late$User", true, late);
        Entry entry = (Entry) user.getConstructor().newInstance();
        late.takes = allocation;
        entry.enter(null);
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
        if (takes != null) {
            takes.take();
        }
        byte[] bytes = bytes(name);
        return defineClass(name, bytes, 0, bytes.length);
    }

    /** The class file of {@code name}. */
    static byte[] bytes(String name) throws ClassNotFoundException {
        String path = name.replace('.', '/') + ".class";
        try (InputStream file = Late.class.getClassLoader().getResourceAsStream(path)) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            for (int one = file.read(); one >= 0; one = file.read()) {
                bytes.write(one);
            }
            return bytes.toByteArray();
        } catch (IOException error) {
            throw new ClassNotFoundException(name, error);
        }
    }
}
