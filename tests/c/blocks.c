// The native side of targets.Blocks: plain malloc and free below a Java method.

#include <jni.h>
#include <stdlib.h>

JNIEXPORT jlong JNICALL Java_targets_Blocks_allocate(JNIEnv *env, jclass class, jlong size) {
    (void)env, (void)class;
    void *block = malloc((size_t)size);
    __asm__ volatile("" : : "r"(block) : "memory");
    return (jlong)block;
}

JNIEXPORT void JNICALL Java_targets_Blocks_free(JNIEnv *env, jclass class, jlong block) {
    (void)env, (void)class;
    free((void *)block);
}
