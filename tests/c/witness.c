// The native side of targets.Witness: malloc below a Java method, and calls from C back into Java.

#include <jni.h>
#include <jvmti.h>
#include <signal.h>
#include <stdlib.h>

JNIEXPORT jlong JNICALL Java_targets_Allocation_allocate(JNIEnv *env, jclass class, jlong size) {
    (void)env, (void)class;
    void *block = malloc((size_t)size);
    __asm__ volatile("" : : "r"(block) : "memory");
    return (jlong)block;
}

JNIEXPORT jlong JNICALL Java_targets_Allocation_allocateCritical(JNIEnv *env, jclass class, jlong size) {
    return Java_targets_Allocation_allocate(env, class, size);
}

// What compiled code calls instead where the JVM has critical natives: JDK 17 and earlier.
JNIEXPORT jlong JNICALL JavaCritical_targets_Allocation_allocateCritical(jlong size) {
    return Java_targets_Allocation_allocate(NULL, NULL, size);
}

static __thread volatile jlong wanted, got;

static void on_signal(int number) {
    (void)number;
    got = Java_targets_Allocation_allocate(NULL, NULL, wanted);
}

// With a signal that the JVM has no use for.
JNIEXPORT jlong JNICALL Java_targets_Allocation_allocateInSignal(JNIEnv *env, jclass class, jlong size) {
    (void)env, (void)class;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGRTMIN + 5, &action, NULL);
    wanted = size;
    raise(SIGRTMIN + 5);
    return got;
}

JNIEXPORT void JNICALL Java_targets_Allocation_free(JNIEnv *env, jclass class, jlong block) {
    (void)env, (void)class;
    free((void *)block);
}

JNIEXPORT void JNICALL Java_targets_Natives_call(JNIEnv *env, jclass class, jobject allocation) {
    (void)class;
    jmethodID take = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, allocation), "take", "()V");
    if (take)
        (*env)->CallVoidMethod(env, allocation, take);
}

JNIEXPORT void JNICALL Java_targets_Natives_callSynchronized(JNIEnv *env, jclass class, jobject allocation) {
    Java_targets_Natives_call(env, class, allocation);
}

JNIEXPORT void JNICALL Java_targets_Natives_callHere(JNIEnv *env, jobject here, jobject allocation) {
    (void)here;
    Java_targets_Natives_call(env, NULL, allocation);
}

JNIEXPORT void JNICALL Java_targets_Natives_callPath(JNIEnv *env, jclass class, jobject path, jobject allocation) {
    (void)class;
    jmethodID enter = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, path), "enter", "(Ltargets/Allocation;)V");
    if (enter)
        (*env)->CallVoidMethod(env, path, enter, allocation);
}

JNIEXPORT void JNICALL Java_targets_Redefined_redefine(JNIEnv *env, jclass class, jclass redefined, jbyteArray bytes) {
    static jvmtiEnv *jvmti;
    JavaVM *vm;
    (void)class;
    jvmtiCapabilities capabilities = {.can_redefine_classes = 1};
    if (!jvmti && ((*env)->GetJavaVM(env, &vm) || (*vm)->GetEnv(vm, (void **)&jvmti, JVMTI_VERSION_1_0) ||
                   (*jvmti)->AddCapabilities(jvmti, &capabilities)))
        abort();
    jbyte *elements = (*env)->GetByteArrayElements(env, bytes, NULL);
    jvmtiClassDefinition definition = {redefined, (*env)->GetArrayLength(env, bytes), (unsigned char *)elements};
    if ((*jvmti)->RedefineClasses(jvmti, 1, &definition))
        abort();
    (*env)->ReleaseByteArrayElements(env, bytes, elements, JNI_ABORT);
}

// For the foreign function interface.
void call_function(void (*function)(void)) {
    function();
    __asm__ volatile("");
}
