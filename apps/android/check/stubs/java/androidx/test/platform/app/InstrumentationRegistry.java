// android/android-test at 1579eadbbfed87c1ff43d070b31ce8aff91bf61c,
// runner/monitor/java/androidx/test/platform/app/InstrumentationRegistry.java.
package androidx.test.platform.app;

import android.app.Instrumentation;
import android.os.Bundle;

public final class InstrumentationRegistry {
    public static native Instrumentation getInstrumentation();

    public static native Bundle getArguments();
}
