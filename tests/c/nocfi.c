// The native side of targets.Resync, as libraries come that nobody can unwind: this file is compiled without call frame
// information, and one of its functions is written in assembly with a frame of its own kind.

#include <jni.h>
#include <pthread.h>
#include <stdlib.h>

#define SINK(p) __asm__ volatile("" : : "r"(p) : "memory")

JNIEXPORT void JNICALL Java_targets_Resync_take(JNIEnv *env, jclass class, jlong size) {
    (void)env, (void)class;
    SINK(malloc((size_t)size));
}

#ifdef __x86_64__
// Neither a frame pointer nor a fixed frame size: the stack is aligned to 256 bytes, and the old pointer kept in r12.
__asm__(".text\n"
        ".globl Java_targets_Resync_takeOdd\n"
        ".type Java_targets_Resync_takeOdd, @function\n"
        "Java_targets_Resync_takeOdd:\n"
        "    push %rbp\n"
        "    push %r12\n"
        "    mov %rsp, %r12\n"
        "    sub $0x248, %rsp\n"
        "    and $-256, %rsp\n"
        "    mov %rdx, %rdi\n"
        "    xor %ebp, %ebp\n"
        "    call malloc@PLT\n"
        "    mov %r12, %rsp\n"
        "    pop %r12\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size Java_targets_Resync_takeOdd, . - Java_targets_Resync_takeOdd\n");
#else
JNIEXPORT void JNICALL Java_targets_Resync_takeOdd(JNIEnv *env, jclass class, jlong size) {
    Java_targets_Resync_take(env, class, size);
}
#endif

static void run(JNIEnv *env, jobject task) {
    jmethodID method = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, task), "run", "()V");
    if (method)
        (*env)->CallVoidMethod(env, task, method);
}

JNIEXPORT void JNICALL Java_targets_Resync_through(JNIEnv *env, jclass class, jobject task) {
    (void)class;
    run(env, task);
    __asm__ volatile("");
}

struct attaching {
    JavaVM *vm;
    jobject task;
    size_t size;
};

// The first function of a thread that Java did not start.
__attribute__((noinline)) void *attached_root(void *argument) {
    struct attaching *attaching = argument;
    JNIEnv *env;
    if ((*attaching->vm)->AttachCurrentThread(attaching->vm, (void **)&env, NULL) == JNI_OK) {
        SINK(malloc(attaching->size));
        run(env, attaching->task);
        (*attaching->vm)->DetachCurrentThread(attaching->vm);
    }
    return NULL;
}

JNIEXPORT void JNICALL Java_targets_Resync_attached(JNIEnv *env, jclass class, jlong size, jobject task) {
    (void)class;
    struct attaching attaching = {NULL, (*env)->NewGlobalRef(env, task), (size_t)size};
    pthread_t thread;
    (*env)->GetJavaVM(env, &attaching.vm);
    if (pthread_create(&thread, NULL, attached_root, &attaching) == 0)
        pthread_join(thread, NULL);
}
