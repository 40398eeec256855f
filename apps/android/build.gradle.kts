// The Android plugin compiles Kotlin by itself; the Kotlin plugin on this class path says which version.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}

// `gradle wrapper` writes what is committed, whatever Gradle runs it.
tasks.wrapper {
    gradleVersion = libs.versions.gradle.get()
    distributionSha256Sum = libs.versions.gradleSha256.get()
}
