// The native side of targets.Witness: malloc below a Java method, and calls from C back into Java.

#include <jni.h>
#include <stdlib.h>

JNIEXPORT jlong JNICALL Java_targets_Allocation_allocate(JNIEnv *env, jclass class, jlong size) {
    (void)env, (void)class;
    void *block = malloc((size_t)size);
    __asm__ volatile("" : : "r"(block) : "memory");
    return (jlong)block;
}

JNIEXPORT void JNICALL Java_targets_Allocation_free(JNIEnv *env, jclass class, jlong block) {
    (void)env, (void)class;
    free((void *)block);
}

JNIEXPORT void JNICALL Java_targets_Paths_call(JNIEnv *env, jclass class, jobject allocation) {
    (void)class;
    jmethodID take = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, allocation), "take", "()V");
    if (take)
        (*env)->CallVoidMethod(env, allocation, take);
}

JNIEXPORT void JNICALL Java_targets_Paths_callSynchronized(JNIEnv *env, jclass class, jobject allocation) {
    Java_targets_Paths_call(env, class, allocation);
}

JNIEXPORT void JNICALL Java_targets_Paths_callPath(JNIEnv *env, jclass class, jobject path, jobject allocation) {
    (void)class;
    jmethodID enter = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, path), "enter", "(Ltargets/Allocation;)V");
    if (enter)
        (*env)->CallVoidMethod(env, path, enter, allocation);
}

// For the foreign function interface.
void call_function(void (*function)(void)) {
    function();
    __asm__ volatile("");
}
