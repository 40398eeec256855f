// androidx/androidx, camera/camera-view/api/restricted_1.6.0-beta01.txt at ef8dd96c2e78530a833cd339eaa3ff20d710ab08.
package androidx.camera.view;

import android.content.Context;
import android.util.AttributeSet;
import android.widget.FrameLayout;
import androidx.camera.core.MeteringPointFactory;
import androidx.camera.core.Preview;

public final class PreviewView extends FrameLayout {
    public PreviewView(Context context, AttributeSet attributes) {
        super(context, attributes);
    }

    public native Preview.SurfaceProvider getSurfaceProvider();

    public native MeteringPointFactory getMeteringPointFactory();

    public native void setScaleType(ScaleType type);

    public enum ScaleType { FILL_CENTER, FILL_END, FILL_START, FIT_CENTER, FIT_END, FIT_START }
}
