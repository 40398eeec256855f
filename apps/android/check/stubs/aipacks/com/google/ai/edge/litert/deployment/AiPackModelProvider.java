// google-ai-edge/LiteRT at f67457790c9c2ab67347d6fe53270e8d3df20868,
// litert/kotlin/src/main/kotlin/com/google/ai/edge/litert/deployment/AiPackModelProvider.kt.
package com.google.ai.edge.litert.deployment;

import android.content.Context;
import com.google.android.play.core.aipacks.AiPackManagerFactory;

public class AiPackModelProvider {
    private final Object manager;

    public AiPackModelProvider(Context context) {
        manager = AiPackManagerFactory.getInstance(context);
    }
}
