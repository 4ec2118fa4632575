package targets;

import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.atomic.AtomicReference;

/** A loader that defines its class itself, so that each loader initialises one of its own. */
public final class Late extends ClassLoader {
    /** What the class that is initialised next takes. */
    public static final AtomicReference<Allocation> loading = new AtomicReference<>();

    Late(ClassLoader parent) {
        super(parent);
    }

    /** Public, as all that it uses: it is of another runtime package. */
    public static final class Initialized {
        static {
            loading.get().take();
        }

        private Initialized() {}
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        if (!name.equals(Initialized.class.getName())) {
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
