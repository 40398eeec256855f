/** Set by vite.config.ts. */
declare const LITERT_VERSION: string;
declare const RUNTIME_FOLDER: string;
declare const APP_VERSION: string;
