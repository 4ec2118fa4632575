// Native methods of targets.Objects: handles that Java opens and closes.

#include <jni.h>
#include <stdlib.h>

JNIEXPORT jlong JNICALL Java_targets_Objects_open__(JNIEnv *env, jclass class) {
    (void)env, (void)class;
    return (jlong)malloc(97);
}

JNIEXPORT jlong JNICALL Java_targets_Objects_open__J(JNIEnv *env, jclass class, jlong bytes) {
    (void)env, (void)class;
    return (jlong)malloc((size_t)bytes);
}

JNIEXPORT void JNICALL Java_targets_Objects_close(JNIEnv *env, jclass class, jlong handle) {
    (void)env, (void)class;
    free((void *)handle);
}
