// Named by google-ai-edge/LiteRT's AiPackModelProvider; of com.google.android.play:ai-delivery, which the app doesn't have.
package com.google.android.play.core.aipacks;

import android.content.Context;

public class AiPackManagerFactory {
    public static native Object getInstance(Context context);
}
